//! Where the log is: `audit.jsonl`, then `audit.jsonl.1` (the newest old one) and so on, and the lock that its writers
//! and readers take turns by.

mod backwards;
mod lines;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(super) use self::backwards::Backwards;
pub(super) use self::lines::Lines;
use super::chain::{Hex128, Seal};
use super::record::{FileHead, Record};

/// Only the owner reads who did what.
pub(super) const FILE_MODE: u32 = 0o600;
/// Before the line that says which file it is stands at most one that begins a chain, and half a line of a writer that was
/// killed, with the one that says so.
pub(super) const LINES_TO_THE_HEAD: usize = 4;

/// The file of that age: 0 is the one that is written.
pub(super) fn numbered(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

/// Of all processes that append to the log, one at a time is at work on it. A file of its own, since those of the log
/// are renamed.
#[derive(Debug)]
pub(super) struct LogLock(File);

impl LogLock {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(FILE_MODE);
        Ok(Self(options.open(lock_path(path))?))
    }

    pub(super) fn hold(&self) -> io::Result<Held<'_>> {
        self.0.lock()?;
        Ok(Held(&self.0))
    }
}

#[derive(Debug)]
pub(super) struct Held<'a>(&'a File);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It goes with the process at the latest.
        let _held_on = self.0.unlock();
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

/// All files of the log, the oldest first, as they are at one moment: none is renamed while they are opened.
pub(super) fn open_all(path: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    // A copy of the files has no lock, and no writer.
    let lock = match File::open(lock_path(path)) {
        Ok(lock) => {
            lock.lock_shared()?;
            Some(lock)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for age in 0.. {
        let name = numbered(path, age);
        match File::open(&name) {
            Ok(file) => files.push((name, file)),
            // The one that is written may have been taken away; then there may be older ones still.
            Err(error) if error.kind() == ErrorKind::NotFound && age == 0 => {}
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    drop(lock);
    files.reverse();
    Ok(files)
}

/// Which file it is, as its first lines say.
pub(super) fn head(file: &File) -> io::Result<Option<FileHead>> {
    let mut lines = Lines::new(BufReader::new(file.try_clone()?));
    lines.rewind()?;
    for _ in 0..LINES_TO_THE_HEAD {
        let Some(piece) = lines.next()? else { break };
        let sealed = piece.whole && Seal::of(piece.bytes).is_some();
        if let Some(Record::File(head)) = Record::of(piece.bytes).filter(|_| sealed) {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Whether its first line is one of a chain. True for an empty file too.
pub(super) fn begins_sealed(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut lines = Lines::new(BufReader::new(file));
    let first = lines.next()?;
    Ok(first.is_none_or(|piece| !piece.whole || Seal::of(piece.bytes).is_some()))
}

/// The last line of each chain that may go on, after this file.
pub(super) fn heads_after(path: &Path) -> io::Result<BTreeMap<Hex128, u64>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut heads = head(&file)?.map(|head| head.heads).unwrap_or_default();
    let mut lines = Lines::new(BufReader::new(file));
    lines.rewind()?;
    while let Some(piece) = lines.next()? {
        if let Some(seal) = Seal::of(piece.bytes).filter(|_| piece.whole) {
            if is_an_end(piece.bytes) {
                heads.remove(&seal.chain);
            } else {
                heads.insert(seal.chain, seal.seq);
            }
        }
    }
    Ok(heads)
}

/// Without reading the whole line: what it is stands behind its time.
fn is_an_end(line: &[u8]) -> bool {
    let beginning = &line[..line.len().min(64)];
    let ended = br#""phase":"ended""#;
    beginning.windows(ended.len()).any(|window| window == ended)
}

pub(super) fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    if_there(fs::rename(from, to)).map(drop)
}

/// Answers whether it was there.
pub(super) fn remove_if_there(path: &Path) -> io::Result<bool> {
    if_there(fs::remove_file(path))
}

fn if_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
