//! What passes between the broker and a child: a kind, a length, a payload. The broker holds every frame of a child's
//! for hostile, so reading one back is bounded here by its kind.

/// Kind and length.
pub const HEADER_BYTES: usize = 5;
/// Of one piece of printed output.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// Of one `ctx.progress(...)`: its text has at most 1,000 characters.
pub const MAX_PROGRESS_BYTES: usize = 16 << 10;
/// Of an error's name, message and stack together: each has at most 16,384 UTF-16 units.
pub const MAX_ERROR_BYTES: usize = 3 * (16 << 10) * 3 + 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The child is locked down and waits for its call.
    Ready,
    Stdout,
    Stderr,
    Progress,
    /// JSON text.
    Result,
    /// The code threw; a kept child can go on.
    Threw,
    /// It threw where nobody could catch it; the child is not to be used again.
    Uncaught,
    /// The text says why the result is none.
    InvalidOutput,
    NothingLeft,
    OutOfMemory,
    /// The child saw its own deadline pass.
    Interrupted,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ready => b'h',
            Self::Stdout => b'o',
            Self::Stderr => b'e',
            Self::Progress => b'p',
            Self::Result => b'r',
            Self::Threw => b't',
            Self::Uncaught => b'u',
            Self::InvalidOutput => b'i',
            Self::NothingLeft => b'n',
            Self::OutOfMemory => b'm',
            Self::Interrupted => b'd',
        }
    }

    const fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            b'h' => Self::Ready,
            b'o' => Self::Stdout,
            b'e' => Self::Stderr,
            b'p' => Self::Progress,
            b'r' => Self::Result,
            b't' => Self::Threw,
            b'u' => Self::Uncaught,
            b'i' => Self::InvalidOutput,
            b'n' => Self::NothingLeft,
            b'm' => Self::OutOfMemory,
            b'd' => Self::Interrupted,
            _ => return None,
        })
    }

    const fn most(self, max_result: usize) -> usize {
        match self {
            Self::Ready | Self::NothingLeft | Self::OutOfMemory | Self::Interrupted => 0,
            Self::Stdout | Self::Stderr => MAX_OUTPUT_BYTES,
            Self::Progress => MAX_PROGRESS_BYTES,
            Self::Result => max_result,
            Self::Threw | Self::Uncaught | Self::InvalidOutput => MAX_ERROR_BYTES,
        }
    }
}

/// What no child that runs our code sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    UnknownKind(u8),
    TooLarge { kind: Kind, bytes: usize },
}

pub fn header(kind: Kind, bytes: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    [kind.byte(), length[0], length[1], length[2], length[3]]
}

/// The kind of a child's frame, and how many bytes its payload has.
///
/// # Errors
/// When no such frame is allowed.
pub fn read_header(header: [u8; HEADER_BYTES], max_result: usize) -> Result<(Kind, usize), Broken> {
    let [kind, length @ ..] = header;
    let kind = Kind::read(kind).ok_or(Broken::UnknownKind(kind))?;
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if bytes > kind.most(max_result) {
        return Err(Broken::TooLarge { kind, bytes });
    }
    Ok((kind, bytes))
}

/// An error's three texts as one payload.
pub fn write_error(name: &str, message: &str, stack: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(12 + name.len() + message.len() + stack.len());
    for text in [name, message, stack] {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(text.as_bytes());
    }
    payload
}

/// What is there of the three texts of [`write_error`]; bytes that are no UTF-8 are replaced.
pub fn read_error(mut payload: &[u8]) -> [String; 3] {
    let mut next = || {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = rest.split_at_checked(length)?;
        payload = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    std::array::from_fn(|_| next().unwrap_or_default())
}

/// One call, as the broker sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The child ends itself a little after these, should nobody have ended it.
    pub deadline_ms: u32,
    pub max_result_bytes: u32,
    /// What the code may use, if that is less than what the zygote was made with.
    pub memory_kib: u32,
    /// Whether the child ends with this call.
    pub once: bool,
    /// `None`: the same as before.
    pub code: Option<&'a [u8]>,
    pub args: &'a [u8],
}

const SAME_CODE: u32 = u32::MAX;
const REQUEST_HEADER: usize = 5 * 4 + 1;

impl Request<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
        let code = self.code.map_or(SAME_CODE, length);
        let body = self.code.unwrap_or_default();
        let mut message = Vec::with_capacity(REQUEST_HEADER + body.len() + self.args.len());
        let header = [
            self.deadline_ms,
            self.max_result_bytes,
            code,
            length(self.args),
            self.memory_kib,
        ];
        for number in header {
            message.extend_from_slice(&number.to_le_bytes());
        }
        message.push(u8::from(self.once));
        message.extend_from_slice(body);
        message.extend_from_slice(self.args);
        message
    }
}

/// The fixed part of a [`Request`], as the child reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    pub deadline_ms: u32,
    pub max_result_bytes: u32,
    pub memory_kib: u32,
    pub once: bool,
    pub code_bytes: Option<usize>,
    pub args_bytes: usize,
}

impl RequestHeader {
    pub const BYTES: usize = REQUEST_HEADER;

    pub fn decode(bytes: [u8; REQUEST_HEADER]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            deadline_ms: number(0),
            max_result_bytes: number(4),
            code_bytes: (number(8) != SAME_CODE).then(|| size(number(8))),
            args_bytes: size(number(12)),
            memory_kib: number(16),
            once: bytes[20] != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_bounded_by_its_kind() {
        let told = |kind, bytes| read_header(header(kind, bytes), 1_000);
        assert_eq!(told(Kind::Result, 1_000), Ok((Kind::Result, 1_000)));
        for (kind, bytes) in [
            (Kind::Result, 1_001),
            (Kind::Ready, 1),
            (Kind::Stdout, MAX_OUTPUT_BYTES + 1),
            (Kind::Progress, usize::MAX),
        ] {
            assert!(
                matches!(told(kind, bytes), Err(Broken::TooLarge { .. })),
                "{kind:?}"
            );
        }
        assert_eq!(read_header([b'z', 0, 0, 0, 0], 9), Err(Broken::UnknownKind(b'z')));
    }

    #[test]
    fn an_error_comes_out_as_it_went_in_and_a_forged_one_as_far_as_it_goes() {
        let payload = write_error("TypeError", "müll", "at run");
        assert_eq!(read_error(&payload), ["TypeError", "müll", "at run"]);
        for cut in 0..payload.len() {
            let _whatever = read_error(&payload[..cut]);
        }
        assert_eq!(read_error(&[255; 40]), ["", "", ""]);
        assert_eq!(read_error(b"\x02\0\0\0\xff\xff")[0], "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_request_says_what_follows_it() {
        let request = Request {
            deadline_ms: 5,
            max_result_bytes: 6,
            memory_kib: 7,
            once: true,
            code: Some(b"return 1"),
            args: b"{}",
        };
        let message = request.encode();
        let (header, rest) = message.split_first_chunk().unwrap();
        let header = RequestHeader::decode(*header);
        assert_eq!(
            (header.code_bytes, header.args_bytes, header.once),
            (Some(8), 2, true)
        );
        assert_eq!(rest, b"return 1{}");
        let again = Request {
            code: None,
            ..request
        }
        .encode();
        assert_eq!(
            RequestHeader::decode(*again.first_chunk().unwrap()).code_bytes,
            None
        );
    }

    proptest! {
        #[test]
        fn a_header_is_what_was_written_within_its_bound_or_broken(
            bytes in any::<[u8; HEADER_BYTES]>(),
            kind in prop::sample::select(&b"hoeprtuinmd?"[..]),
            max_result in 0..1_usize << 24,
        ) {
            for bytes in [bytes, [kind, bytes[1], bytes[2], 0, 0]] {
                match read_header(bytes, max_result) {
                    Ok((kind, length)) => {
                        prop_assert!(length <= kind.most(max_result));
                        prop_assert_eq!(header(kind, length), bytes);
                    }
                    Err(Broken::UnknownKind(kind)) => prop_assert_eq!(kind, bytes[0]),
                    Err(Broken::TooLarge { kind, bytes: length }) => prop_assert!(length > kind.most(max_result)),
                }
            }
        }

        #[test]
        fn an_error_reads_back_and_a_forged_one_is_no_longer_than_what_came(
            texts in any::<[String; 3]>(),
            forged in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let [name, message, stack] = &texts;
            prop_assert_eq!(&read_error(&write_error(name, message, stack)), &texts);
            // A replaced byte takes three.
            let read: usize = read_error(&forged).iter().map(String::len).sum();
            prop_assert!(read <= 3 * forged.len());
        }

        #[test]
        fn a_request_reads_back(
            numbers in any::<[u32; 3]>(),
            once in any::<bool>(),
            code in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
            args in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let [deadline_ms, max_result_bytes, memory_kib] = numbers;
            let code = code.as_deref();
            let request = Request { deadline_ms, max_result_bytes, memory_kib, once, code, args: &args };
            let message = request.encode();
            let (header, rest) = message.split_first_chunk().unwrap();
            let expected = RequestHeader {
                deadline_ms,
                max_result_bytes,
                memory_kib,
                once,
                code_bytes: code.map(<[u8]>::len),
                args_bytes: args.len(),
            };
            prop_assert_eq!(RequestHeader::decode(*header), expected);
            prop_assert_eq!(rest, [code.unwrap_or_default(), &args].concat());
        }
    }
}
