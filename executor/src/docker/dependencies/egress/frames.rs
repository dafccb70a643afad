//! What goes over a container's two streams: `kind(1) channel(4) length(4) payload`, numbers big-endian, both ways alike.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

const HEADER_BYTES: usize = 9;
/// Of what a channel carries.
pub(in super::super) const MAX_DATA_BYTES: usize = 64 * 1024;
/// A report holds a lock; anything beyond is not one of ours.
const MAX_REPORT_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// The installer's last word.
    Report,
    /// The container has a connection.
    Open,
    Data,
    /// The sender has no more data.
    End,
    /// The channel is over for both.
    Close,
    /// So many bytes of data (in the payload) are used up, and as many more may come.
    More,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Frame {
    pub kind: Kind,
    pub channel: u32,
    pub payload: Bytes,
}

/// The stream does not say what it should, so nothing that follows can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Garbled;

impl Kind {
    const fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            b'r' => Self::Report,
            b'o' => Self::Open,
            b'd' => Self::Data,
            b'e' => Self::End,
            b'c' => Self::Close,
            b'm' => Self::More,
            _ => return None,
        })
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Report => b'r',
            Self::Open => b'o',
            Self::Data => b'd',
            Self::End => b'e',
            Self::Close => b'c',
            Self::More => b'm',
        }
    }

    const fn max_bytes(self) -> usize {
        match self {
            Self::Report => MAX_REPORT_BYTES,
            Self::Data => MAX_DATA_BYTES,
            Self::More => 4,
            Self::Open | Self::End | Self::Close => 0,
        }
    }
}

impl Frame {
    pub(super) const fn bare(kind: Kind, channel: u32) -> Self {
        let payload = Bytes::new();
        Self {
            kind,
            channel,
            payload,
        }
    }

    pub(super) fn data(channel: u32, payload: Bytes) -> Self {
        let kind = Kind::Data;
        Self {
            kind,
            channel,
            payload,
        }
    }

    pub(super) fn more(channel: u32, bytes: u32) -> Self {
        Self {
            kind: Kind::More,
            channel,
            payload: Bytes::copy_from_slice(&bytes.to_be_bytes()),
        }
    }

    /// What a [`Kind::More`] grants.
    pub(super) fn granted(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.as_ref().try_into().ok()?))
    }

    pub(in super::super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.put_u8(self.kind.byte());
        bytes.put_u32(self.channel);
        bytes.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(&self.payload);
        bytes.freeze()
    }
}

/// Frames out of a stream that comes in pieces. Holds one frame at most.
#[derive(Default)]
pub(in super::super) struct Decoder {
    bytes: BytesMut,
}

impl Decoder {
    pub(in super::super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `None`: there is no whole one yet.
    pub(in super::super) fn frame(&mut self) -> Result<Option<Frame>, Garbled> {
        let Some(mut header) = self.bytes.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let kind = Kind::read(header.get_u8()).ok_or(Garbled)?;
        let (channel, length) = (header.get_u32(), header.get_u32() as usize);
        if length > kind.max_bytes() {
            return Err(Garbled);
        }
        if self.bytes.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(HEADER_BYTES);
        Ok(Some(Frame {
            kind,
            channel,
            payload: self.bytes.split_to(length).freeze(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let frames = [
            Frame::bare(Kind::Open, 7),
            Frame::data(7, Bytes::from_static(b"hello")),
            Frame::more(7, 70_000),
            Frame::bare(Kind::Close, u32::MAX),
        ];
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
        for size in [1, 2, 9, 10, stream.len()] {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.frame().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames, "{size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_garbled_before_it_is_held() {
        for wrong in [
            b"x\0\0\0\0\0\0\0\0",
            b"d\0\0\0\0\0\x01\0\x01",
            b"o\0\0\0\0\0\0\0\x01",
            b"r\0\0\0\0\xff\xff\xff\xff",
        ] {
            let mut decoder = Decoder::default();
            decoder.push(wrong);
            assert_eq!(decoder.frame(), Err(Garbled), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.frame() {}
        }
    }
}
