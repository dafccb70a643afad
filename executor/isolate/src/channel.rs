//! A child's end of its channel: frames out, calls in. Blocking, for a child does one thing at a time.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;

use crate::frame::{self, Kind, RequestHeader};

/// Printed lines are sent together, for each frame costs a system call.
const BUFFER_BYTES: usize = 32 << 10;

pub struct Channel {
    /// Never closed: no child may, and the process ends with it open.
    file: ManuallyDrop<File>,
    /// A frame of printed output that is still growing: its stream, and room for its header before the text.
    printed: Option<(Kind, Vec<u8>)>,
}

/// One call, whole.
#[derive(Debug)]
pub struct Call {
    pub header: RequestHeader,
    pub code: Option<Vec<u8>>,
    pub args: Vec<u8>,
}

impl Channel {
    pub fn new(file: File) -> Self {
        Self {
            file: ManuallyDrop::new(file),
            printed: None,
        }
    }

    /// For a body that speaks in its own words, as a child that broke out would.
    pub fn into_file(self) -> ManuallyDrop<File> {
        self.file
    }

    /// The next call; `None` when the broker is done with this child.
    ///
    /// # Errors
    /// When the channel breaks within a call.
    pub fn next_call(&mut self) -> io::Result<Option<Call>> {
        let mut header = [0; RequestHeader::BYTES];
        match self.file.read(&mut header)? {
            0 => return Ok(None),
            some => self.file.read_exact(&mut header[some..])?,
        }
        let header = RequestHeader::decode(header);
        let code = header.code_bytes.map(|bytes| self.read(bytes)).transpose()?;
        let args = self.read(header.args_bytes)?;
        Ok(Some(Call { header, code, args }))
    }

    fn read(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.file.read_exact(&mut buffer)?;
        Ok(buffer)
    }

    /// What was printed before is sent first.
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.flush()?;
        let mut message = frame::header(kind, payload.len()).to_vec();
        message.extend_from_slice(payload);
        self.file.write_all(&message)
    }

    /// `kind`: [`Kind::Stdout`] or [`Kind::Stderr`]. Sent when there is enough of it, and by [`Self::flush`].
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn print(&mut self, kind: Kind, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            if self.printed.as_ref().is_some_and(|(stream, _)| *stream != kind) {
                self.flush()?;
            }
            let (_, buffer) = self
                .printed
                .get_or_insert_with(|| (kind, frame::header(kind, 0).to_vec()));
            let room = (BUFFER_BYTES + frame::HEADER_BYTES).saturating_sub(buffer.len());
            let (now, later) = text.split_at(text.len().min(room));
            buffer.extend_from_slice(now);
            text = later;
            if buffer.len() >= BUFFER_BYTES + frame::HEADER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// When the broker is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some((kind, mut message)) = self.printed.take() else {
            return Ok(());
        };
        let header = frame::header(kind, message.len() - frame::HEADER_BYTES);
        message[..frame::HEADER_BYTES].copy_from_slice(&header);
        self.file.write_all(&message)
    }

    pub fn has_unsent(&self) -> bool {
        self.printed.is_some()
    }
}
