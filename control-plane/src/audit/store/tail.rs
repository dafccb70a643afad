//! Reads the log's lines in the order in which they were written, from the oldest file on, and goes with rotations.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::audit::chain::Seal;
use crate::audit::files::{self, Lines, open_all};
use crate::audit::record::FileHead;

const MAX_LINES: usize = 1_000;
const MAX_BYTES: usize = 1_024 * 1_024;

#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    number: u64,
    /// What stands before it was read.
    offset: u64,
    /// Of the file that was jumped to, until it is answered.
    arrival: Option<FileHead>,
}

/// Some lines that follow one another, all of one file.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Sealed lines without their newlines.
    pub(super) lines: Vec<Vec<u8>>,
    /// Which file is being read.
    pub(super) number: u64,
    /// Files before this one are gone that were not read: its head says what was in them.
    pub(super) skipped_to: Option<FileHead>,
    pub(super) more: bool,
    end: u64,
}

impl Tail {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
        }
    }

    /// The same again until [`Self::advance`] says that it is done with.
    pub(super) fn read(&mut self) -> io::Result<Chunk> {
        loop {
            if self.open.is_none() && !self.go_on()? {
                return Ok(Chunk::default());
            }
            let Some(open) = &self.open else {
                return Ok(Chunk::default());
            };
            // Looked at before the file is read to its end, so that nothing can follow in it afterwards.
            let is_newest = is_at(&self.path, &open.file)?;
            let chunk = open.read(!is_newest)?;
            let at_its_end = chunk.lines.is_empty() && chunk.end == open.offset;
            if !at_its_end || is_newest || !self.go_on()? {
                return Ok(chunk);
            }
        }
    }

    pub(super) fn advance(&mut self, chunk: &Chunk) {
        if let Some(open) = &mut self.open {
            open.offset = chunk.end;
            open.arrival = None;
        }
    }

    /// To the next file that is there. Answers whether there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let done = self.open.as_ref().map(|open| open.number);
        for (_, file) in open_all(&self.path)? {
            let head = files::head(&file)?;
            let number = match (&head, done) {
                (Some(head), _) => head.number,
                // It has only just been made, or its head was taken out.
                (None, Some(done)) => done + 1,
                (None, None) => 0,
            };
            if done.is_some_and(|done| number <= done) {
                continue;
            }
            let follows = done.is_some_and(|done| number == done + 1);
            self.open = Some(Open {
                file,
                number,
                offset: 0,
                arrival: head.filter(|_| !follows),
            });
            return Ok(true);
        }
        Ok(false)
    }
}

impl Open {
    /// Half a line at the end is not there yet, unless nobody writes to the file any more.
    fn read(&self, is_complete: bool) -> io::Result<Chunk> {
        let mut chunk = Chunk {
            number: self.number,
            skipped_to: self.arrival.clone(),
            end: self.offset,
            ..Chunk::default()
        };
        let mut lines = Lines::new(BufReader::new(self.file.try_clone()?));
        lines.seek(self.offset)?;
        let mut bytes = 0;
        while let Some(piece) = lines.next()? {
            if !piece.whole && !is_complete && piece.offset + piece.length == self.file.metadata()?.len() {
                break;
            }
            chunk.end = piece.offset + piece.length;
            // Half lines are in no chain, and a line that says so follows them.
            if piece.whole && Seal::of(piece.bytes).is_some() {
                bytes += piece.bytes.len();
                chunk.lines.push(piece.bytes.to_vec());
            }
            if chunk.lines.len() >= MAX_LINES || bytes >= MAX_BYTES {
                chunk.more = true;
                break;
            }
        }
        Ok(chunk)
    }
}

/// Whether the path names this file.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == open.ino() && named.dev() == open.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
