//! The frames between a session and its agent, see `agent.cjs`. What comes in may be anything: memory is bounded by one
//! frame, and what is no frame ends the session.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

pub(super) const MAX_PAYLOAD: usize = 65_536;
const HEADER: usize = 9;

/// What the agent is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    Start = b'S',
    Input = b'I',
    Kill = b'K',
    Write = b'W',
    Data = b'D',
    Commit = b'C',
    Read = b'R',
    Next = b'N',
    List = b'L',
    Offers = b'P',
    Abort = b'A',
}

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Hello,
    Stdout,
    Stderr,
    Gap,
    Taken,
    Exited,
    Unable,
    Killed,
    Done,
    NotDone,
    Data,
    End,
}

impl Word {
    const fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            b'h' => Self::Hello,
            b'o' => Self::Stdout,
            b'r' => Self::Stderr,
            b'g' => Self::Gap,
            b'a' => Self::Taken,
            b'x' => Self::Exited,
            b'e' => Self::Unable,
            b'k' => Self::Killed,
            b'y' => Self::Done,
            b'n' => Self::NotDone,
            b'd' => Self::Data,
            b'z' => Self::End,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub word: Word,
    pub id: u32,
    pub payload: Bytes,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox's agent said what it does not say")]
pub(super) struct Garbled;

/// `payload`: at most [`MAX_PAYLOAD`].
pub(super) fn encode(order: Order, id: u32, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= MAX_PAYLOAD, "a frame that the agent refuses");
    let mut frame = BytesMut::with_capacity(HEADER + payload.len());
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    frame.put_u8(order as u8);
    frame.put_u32(id);
    frame.put_slice(payload);
    frame.freeze()
}

#[derive(Debug, Default)]
pub(super) struct Decoder(BytesMut);

impl Decoder {
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// The next whole frame, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Garbled> {
        if self.0.len() < HEADER {
            return Ok(None);
        }
        let mut header = &self.0[..HEADER];
        let (length, byte, id) = (header.get_u32() as usize, header.get_u8(), header.get_u32());
        let word = Word::read(byte).ok_or(Garbled)?;
        if length > MAX_PAYLOAD {
            return Err(Garbled);
        }
        if self.0.len() < HEADER + length {
            return Ok(None);
        }
        self.0.advance(HEADER);
        let payload = self.0.split_to(length).freeze();
        Ok(Some(Frame { word, id, payload }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(byte: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[byte], &id.to_be_bytes(), payload].concat()
    }

    fn frames(decoder: &mut Decoder) -> Result<Vec<Frame>, Garbled> {
        std::iter::from_fn(|| decoder.next().transpose()).collect()
    }

    #[test]
    fn a_frame_too_large_or_of_no_kind_is_refused_before_it_is_kept() {
        let mut large = said(b'o', 1, b"");
        large[..4].copy_from_slice(&65_537_u32.to_be_bytes());
        for bytes in [large, said(b'?', 1, b"")] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            assert_eq!(decoder.next(), Err(Garbled));
        }
    }

    #[test]
    fn an_order_has_its_length_its_kind_and_its_id_in_front() {
        assert_eq!(&encode(Order::Kill, 258, b"ab")[..], b"\0\0\0\x02K\0\0\x01\x02ab");
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_the_stream_is_cut(
            sent in proptest::collection::vec((any::<u32>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1_usize..64,
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(|(id, payload)| said(b'o', *id, payload)).collect();
            let mut decoder = Decoder::default();
            let mut arrived = Vec::new();
            for chunk in stream.chunks(cut) {
                decoder.feed(chunk);
                arrived.extend(frames(&mut decoder).unwrap());
            }
            let arrived: Vec<_> = arrived.into_iter().map(|frame| (frame.id, frame.payload.to_vec())).collect();
            prop_assert_eq!(arrived, sent);
        }

        #[test]
        fn whatever_comes_is_a_frame_or_garbled_and_never_kept_beyond_one_frame(
            noise in proptest::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let mut decoder = Decoder::default();
            for chunk in noise.chunks(100) {
                decoder.feed(chunk);
                if frames(&mut decoder).is_err() {
                    return Ok(());
                }
                prop_assert!(decoder.0.len() < HEADER + MAX_PAYLOAD);
            }
        }
    }
}
