//! Lines of a file from its end, without reading what stands before those that are wanted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const CHUNK_BYTES: u64 = 64 * 1024;

pub(in crate::audit) struct Backwards {
    file: File,
    /// What stands before this was not read yet.
    unread: u64,
    /// What was read and not answered: it ends with a newline, or was half a line at the end of the file.
    rest: Vec<u8>,
    bytes_read: u64,
}

impl Backwards {
    pub(in crate::audit) fn new(file: File) -> io::Result<Self> {
        let unread = file.metadata()?.len();
        Ok(Self {
            file,
            unread,
            rest: Vec::new(),
            bytes_read: 0,
        })
    }

    pub(in crate::audit) const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next line towards the beginning, without its newline; empty ones are left out.
    pub(in crate::audit) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            while self.rest.last() == Some(&b'\n') {
                self.rest.pop();
            }
            if let Some(newline) = self.rest.iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(self.rest.split_off(newline + 1)));
            }
            if self.unread == 0 {
                let first = std::mem::take(&mut self.rest);
                return Ok(Some(first).filter(|line| !line.is_empty()));
            }
            let count = CHUNK_BYTES.min(self.unread);
            let mut chunk = vec![0; usize::try_from(count).unwrap_or_default()];
            self.file.read_exact_at(&mut chunk, self.unread - count)?;
            self.unread -= count;
            self.bytes_read += count;
            chunk.append(&mut self.rest);
            self.rest = chunk;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_last_first_over_chunks() {
        let mut file = tempfile::tempfile().unwrap();
        let lines: Vec<String> = (0..5_000)
            .map(|number| format!("{number}-{}", "x".repeat(number % 90)))
            .collect();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        let mut backwards = Backwards::new(file).unwrap();
        let mut seen = Vec::new();
        while let Some(line) = backwards.next().unwrap() {
            seen.push(String::from_utf8(line).unwrap());
        }
        seen.reverse();
        assert_eq!(seen, lines);
    }
}
