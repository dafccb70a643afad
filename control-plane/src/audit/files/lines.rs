//! Lines of a file from its beginning, none of which takes more memory than a line may be long.

use std::io::{self, BufRead, Seek, SeekFrom};

/// Longer than any line that the log is given.
const MAX_LINE_BYTES: usize = 2 * 1024 * 1024;

pub(in crate::audit) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Of the next line, in the file.
    offset: u64,
}

/// What stands between two newlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) struct Piece<'a> {
    /// Without the newline.
    pub(in crate::audit) bytes: &'a [u8],
    /// A newline ends it, and it is not longer than a line may be (then `bytes` is its beginning).
    pub(in crate::audit) whole: bool,
    pub(in crate::audit) offset: u64,
    /// In the file, with the newline.
    pub(in crate::audit) length: u64,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::audit) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            offset: 0,
        }
    }

    pub(in crate::audit) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.line.clear();
        let (mut length, mut ended) = (0, false);
        while !ended {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            let newline = available.iter().position(|&byte| byte == b'\n');
            let text = &available[..newline.unwrap_or(available.len())];
            let room = MAX_LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            ended = newline.is_some();
            let taken = text.len() + usize::from(ended);
            self.reader.consume(taken);
            length += taken as u64;
        }
        if length == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length;
        let text_length = length - u64::from(ended);
        Ok(Some(Piece {
            whole: ended && text_length == self.line.len() as u64,
            bytes: &self.line,
            offset,
            length,
        }))
    }
}

impl<R: BufRead + Seek> Lines<R> {
    /// Begins at the beginning, wherever the file was read before.
    pub(in crate::audit) fn rewind(&mut self) -> io::Result<()> {
        self.seek(0)
    }

    pub(in crate::audit) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.offset = self.reader.seek(SeekFrom::Start(offset))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn half_a_line_at_the_end_is_told_from_a_whole_one() {
        let mut lines = Lines::new(BufReader::with_capacity(3, b"first\n\nhalf".as_slice()));
        let mut seen = Vec::new();
        while let Some(piece) = lines.next().unwrap() {
            seen.push((piece.bytes.to_vec(), piece.whole, piece.offset, piece.length));
        }
        let expected = [
            (b"first".to_vec(), true, 0, 6),
            (b"".to_vec(), true, 6, 1),
            (b"half".to_vec(), false, 7, 4),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let long = vec![b'x'; MAX_LINE_BYTES + 10];
        let mut lines = Lines::new(BufReader::new(long.as_slice()));
        let piece = lines.next().unwrap().unwrap();
        assert_eq!((piece.bytes.len(), piece.whole), (MAX_LINE_BYTES, false));
        assert_eq!(piece.length, long.len() as u64);
    }
}
