//! Tells the runner's frames from whatever else comes over the same stream. Every byte may be hostile: memory is
//! bounded by one record and one frame's largest payload, and what is not exactly a record is output.
//!
//! A record is `NUL nonce(32) kind(1) flags(1) length(4 hex) payload`; see `runner.cjs`.

use bytes::Bytes;
use rand::RngCore as _;

const NONCE_BYTES: usize = 32;
const MARKER_BYTES: usize = 1 + NONCE_BYTES;
const HEADER_BYTES: usize = MARKER_BYTES + 6;
const MAX_RECORD_BYTES: usize = 4_096;

const MORE: u8 = 1;
const STDERR_MARKED: u8 = 2;

/// What tells one call's frames from all other bytes. Printed nowhere but into the sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    pub fn fresh() -> Self {
        let mut random = [0_u8; NONCE_BYTES / 2];
        rand::rng().fill_bytes(&mut random);
        let mut text = [0_u8; NONCE_BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn marker(&self) -> [u8; MARKER_BYTES] {
        let mut marker = [0; MARKER_BYTES];
        marker[1..].copy_from_slice(&self.0);
        marker
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ready,
    Result,
    Threw,
    Uncaught,
    InvalidOutput,
    Exited,
    NothingLeft,
    Progress,
    /// Everything that was printed on stderr came before this.
    StderrEnd,
}

impl Kind {
    const fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            b'h' => Self::Ready,
            b'r' => Self::Result,
            b't' => Self::Threw,
            b'u' => Self::Uncaught,
            b'i' => Self::InvalidOutput,
            b'x' => Self::Exited,
            b'n' => Self::NothingLeft,
            b'p' => Self::Progress,
            b'e' => Self::StderrEnd,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// Whether stderr has, or will have, its [`Kind::StderrEnd`].
    pub stderr_marked: bool,
    /// `None` when it was larger than allowed.
    pub payload: Option<Bytes>,
}

#[derive(Debug)]
pub struct FrameParser {
    marker: [u8; MARKER_BYTES],
    max_payload: usize,
    /// The beginning of what may be a record.
    partial: Vec<u8>,
    payload: Vec<u8>,
    too_large: bool,
}

enum Record<'a> {
    No,
    Incomplete,
    Whole {
        kind: Kind,
        flags: u8,
        payload: &'a [u8],
        bytes: usize,
    },
}

impl FrameParser {
    pub fn new(nonce: &Nonce, max_payload: usize) -> Self {
        Self {
            marker: nonce.marker(),
            max_payload,
            partial: Vec::new(),
            payload: Vec::new(),
            too_large: false,
        }
    }

    /// Hands every byte that is not of a record to `output`, and answers with the frames that were completed.
    pub fn feed(&mut self, chunk: &[u8], mut output: impl FnMut(&[u8])) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.partial.is_empty() {
            self.scan(chunk, &mut output, &mut frames);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(chunk);
            self.scan(&joined, &mut output, &mut frames);
        }
        frames
    }

    /// The stream has ended: what looked like the beginning of a record was output.
    pub fn finish(&mut self, mut output: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            output(&rest);
        }
    }

    fn scan(&mut self, bytes: &[u8], output: &mut impl FnMut(&[u8]), frames: &mut Vec<Frame>) {
        let mut printed_from = 0;
        let mut at = 0;
        while let Some(offset) = bytes[at..].iter().position(|byte| *byte == 0) {
            let begin = at + offset;
            match self.record(&bytes[begin..]) {
                Record::No => at = begin + 1,
                Record::Incomplete => {
                    emit(&bytes[printed_from..begin], output);
                    self.partial.extend_from_slice(&bytes[begin..]);
                    return;
                }
                Record::Whole {
                    kind,
                    flags,
                    payload,
                    bytes: length,
                } => {
                    emit(&bytes[printed_from..begin], output);
                    frames.extend(self.accept(kind, flags, payload));
                    at = begin + length;
                    printed_from = at;
                }
            }
        }
        emit(&bytes[printed_from..], output);
    }

    fn record<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        let comparable = bytes.len().min(MARKER_BYTES);
        if bytes[..comparable] != self.marker[..comparable] {
            return Record::No;
        }
        let Some(header) = bytes.get(MARKER_BYTES..HEADER_BYTES) else {
            return Record::Incomplete;
        };
        let length = std::str::from_utf8(&header[2..])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let flags = header[1].wrapping_sub(b'0');
        let (Some(kind), Some(length), true) = (Kind::read(header[0]), length, flags < 4) else {
            return Record::No;
        };
        if HEADER_BYTES + length > MAX_RECORD_BYTES {
            return Record::No;
        }
        match bytes.get(HEADER_BYTES..HEADER_BYTES + length) {
            None => Record::Incomplete,
            Some(payload) => Record::Whole {
                kind,
                flags,
                payload,
                bytes: HEADER_BYTES + length,
            },
        }
    }

    fn accept(&mut self, kind: Kind, flags: u8, payload: &[u8]) -> Option<Frame> {
        if self.payload.len() + payload.len() > self.max_payload {
            self.too_large = true;
            self.payload = Vec::new();
        }
        if !self.too_large {
            self.payload.extend_from_slice(payload);
        }
        if flags & MORE != 0 {
            return None;
        }
        let whole = Bytes::from(std::mem::take(&mut self.payload));
        let too_large = std::mem::take(&mut self.too_large);
        Some(Frame {
            kind,
            stderr_marked: flags & STDERR_MARKED != 0,
            payload: (!too_large).then_some(whole),
        })
    }
}

fn emit(bytes: &[u8], output: &mut impl FnMut(&[u8])) {
    if !bytes.is_empty() {
        output(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(nonce: &Nonce, kind: char, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = format!("\0{}{kind}{flags}{:04x}", nonce.as_str(), payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn feed_all(parser: &mut FrameParser, bytes: &[u8], chunk: usize) -> (Vec<u8>, Vec<Frame>) {
        let (mut printed, mut frames) = (Vec::new(), Vec::new());
        for part in bytes.chunks(chunk) {
            frames.extend(parser.feed(part, |out| printed.extend_from_slice(out)));
        }
        parser.finish(|out| printed.extend_from_slice(out));
        (printed, frames)
    }

    #[test]
    fn frames_are_found_between_output_however_it_is_cut() {
        let nonce = Nonce::fresh();
        let mut bytes = b"before\0\0".to_vec();
        bytes.extend(record(&nonce, 'r', 1, b"{\"a\""));
        bytes.extend(b"within");
        bytes.extend(record(&nonce, 'r', 2, b":1}"));
        bytes.extend(b"\0after");
        for chunk in 1..bytes.len() {
            let (printed, frames) = feed_all(&mut FrameParser::new(&nonce, 100), &bytes, chunk);
            assert_eq!(printed, b"before\0\0within\0after");
            let whole = Frame {
                kind: Kind::Result,
                stderr_marked: true,
                payload: Some("{\"a\":1}".into()),
            };
            assert_eq!(frames, vec![whole]);
        }
    }

    #[test]
    fn a_frame_under_another_nonce_is_output() {
        let forged = record(&Nonce::fresh(), 'r', 0, b"1");
        let (printed, frames) = feed_all(&mut FrameParser::new(&Nonce::fresh(), 100), &forged, 7);
        assert_eq!(printed, forged);
        assert!(frames.is_empty());
    }

    #[test]
    fn a_frame_that_never_ends_is_cut_off_at_the_cap() {
        let nonce = Nonce::fresh();
        let mut parser = FrameParser::new(&nonce, 1_000);
        for _ in 0..100 {
            parser.feed(&record(&nonce, 'r', 1, &[b'x'; 4_000]), |_| {});
            assert!(parser.payload.len() <= 1_000);
        }
        let frames = parser.feed(&record(&nonce, 'r', 0, b""), |_| {});
        assert_eq!(frames[0].payload, None);
    }

    #[test]
    fn a_record_that_claims_too_much_is_output() {
        let nonce = Nonce::fresh();
        let mut parser = FrameParser::new(&nonce, 1_000);
        let bytes = format!("\0{}r0ffff", nonce.as_str());
        let (printed, frames) = feed_all(&mut parser, bytes.as_bytes(), 100);
        assert_eq!((printed, frames), (bytes.into_bytes(), vec![]));
    }

    proptest! {
        #[test]
        fn what_holds_no_nonce_comes_out_as_it_went_in(bytes in proptest::collection::vec(0u8..3, 0..300), chunk in 1usize..50) {
            let (printed, frames) = feed_all(&mut FrameParser::new(&Nonce::fresh(), 10), &bytes, chunk);
            prop_assert_eq!(printed, bytes);
            prop_assert!(frames.is_empty());
        }
    }
}
