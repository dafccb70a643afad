//! A log of sealed lines that is appended to and rotated: `audit.jsonl`, then `audit.jsonl.1` (the newest old one) and so
//! on. Each file begins with which one it is and what stood at the end of those before.
//!
//! Several processes may append to the same log, as the servers of one user's clients do, each its own chain. Whoever
//! appends holds the log's lock, and notices that the path names another file by now.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::content::sha256_hex;
use serde::Deserialize;

use super::backlog::Backlog;
use super::chain::{Chain, ChainHead, Hex128, SEAL_BYTES, Seal};
use super::files::{
    self, Backwards, FILE_MODE, Held, LogLock, heads_after, numbered, remove_if_there, rename_if_there,
};
use super::record::{FileHead, Predecessor, Record};

const DIRECTORY_MODE: u32 = 0o700;
/// A chain that was idle for a whole file goes on being remembered while there are no more than this.
pub(super) const MAX_HEADS: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct LogLimits {
    pub(super) max_bytes: u64,
    /// With the one that is being written.
    pub(super) max_files: u32,
}

pub(super) struct JsonlFile {
    path: PathBuf,
    limits: LogLimits,
    lock: Arc<LogLock>,
    file: File,
    /// Which file it is, or the one before where it has no head yet; `None` while none was ever begun.
    known: Option<FileHead>,
    has_head: bool,
    /// Nothing but its head is in it.
    is_fresh: bool,
    chain: Chain,
    /// The chain's own first line is written.
    has_begun: bool,
    backlog: Arc<Backlog>,
    clock: Arc<dyn Clock>,
}

impl JsonlFile {
    /// Nothing is written yet: the chain begins with the first [`Self::append`].
    pub(super) fn open(
        path: &Path,
        limits: LogLimits,
        chain: Chain,
        backlog: Arc<Backlog>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        make_directory(path)?;
        let lock = Arc::new(LogLock::open(path)?);
        let held = lock.hold()?;
        set_aside_what_is_not_sealed(path, clock.now())?;
        let file = open_for_append(path)?;
        drop(held);
        Ok(Self {
            path: path.to_owned(),
            limits: LogLimits {
                max_files: limits.max_files.max(1),
                ..limits
            },
            lock,
            file,
            known: None,
            has_head: false,
            is_fresh: false,
            chain,
            has_begun: false,
            backlog,
            clock,
        })
    }

    pub(super) const fn chain(&self) -> (Hex128, ChainHead) {
        (self.chain.id(), self.chain.head())
    }

    /// Whose files these are; `None` before the first is begun.
    pub(super) fn log(&self) -> Option<Hex128> {
        self.known.as_ref().map(|head| head.log)
    }

    /// Seals and appends whole lines, rotating where they don't fit. Takes from `lines` what is written; after an error the
    /// rest can be given again.
    pub(super) fn append(&mut self, lines: &mut &[u8]) -> io::Result<()> {
        let lock = Arc::clone(&self.lock);
        let held = lock.hold()?;
        self.settle(&held)?;
        while !lines.is_empty() {
            let length = self.file.metadata()?.len();
            let room = self.limits.max_bytes.saturating_sub(length);
            let batch = Batch::seal(&mut self.chain, lines, room, self.is_fresh);
            if batch.lines.is_empty() {
                self.rotate()?;
            } else {
                let written = self.write(&batch, length);
                *lines = &lines[batch.taken(written.lines)..];
                self.is_fresh &= written.lines == 0;
                written.ended?;
            }
        }
        Ok(())
    }

    /// Waits until what was appended is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Opens the path anew, after a fault.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        make_directory(&self.path)?;
        self.lock = Arc::new(LogLock::open(&self.path)?);
        self.take(open_for_append(&self.path)?)
    }

    fn take(&mut self, file: File) -> io::Result<()> {
        let head = files::head(&file)?;
        (self.has_head, self.is_fresh) = (head.is_some(), false);
        self.known = match head {
            None if self.known.is_none() => head_of(&numbered(&self.path, 1))?,
            None => self.known.take(),
            known => known,
        };
        self.file = file;
        Ok(())
    }

    /// Makes sure that the file is the one that the path names, ends with a whole line and has a head, and that the chain
    /// has begun.
    fn settle(&mut self, _held: &Held<'_>) -> io::Result<()> {
        if !self.has_head || !self.is_current()? {
            self.take(open_for_append(&self.path)?)?;
        }
        let before = self.chain.head().seq;
        let length = self.file.metadata()?.len();
        let torn = torn_end(&self.file, length)?;
        // What ends the half line goes with what says that it is one, or not at all.
        let end_of_torn: &[u8] = if torn.is_some() { b"\n" } else { b"" };
        let begun = if self.has_begun {
            None
        } else {
            Some(self.beginning()?)
        };
        let records: Vec<Record> = begun.into_iter().chain(torn).collect();
        if !records.is_empty() {
            self.write_records(end_of_torn, &records)?;
            self.has_begun = true;
        }
        if !self.has_head {
            self.begin_file(before)?;
        }
        Ok(())
    }

    /// Whether the path still names the file that is open.
    fn is_current(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok(named.ino() == open.ino() && named.dev() == open.dev()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn beginning(&self) -> io::Result<Record> {
        let after = match last_sealed(&self.path)? {
            None => last_sealed(&numbered(&self.path, 1))?,
            last => last,
        };
        Ok(Record::Begun {
            version: crate::mcp::VERSION.to_owned(),
            key: self.chain.key_id().to_owned(),
            after,
        })
    }

    /// The head of a file that has none: the first of all, or one that took the place of the one known.
    /// `own` is how far the chain had come before it.
    fn begin_file(&mut self, own: u64) -> io::Result<()> {
        let head = match &self.known {
            None => self.successor(&first_head(), BTreeMap::new(), own),
            Some(before) => {
                let previous = numbered(&self.path, 1);
                let heads = match head_of(&previous)? {
                    Some(head) if head.number == before.number => heads_after(&previous)?,
                    // It was taken away; what was known of it must do.
                    _ => before.heads.clone(),
                };
                self.successor(before, heads, own)
            }
        };
        self.write_head(head)
    }

    fn successor(&self, before: &FileHead, mut heads: BTreeMap<Hex128, u64>, own: u64) -> FileHead {
        if own > 0 {
            heads.insert(self.chain.id(), own);
        }
        FileHead {
            log: before.log,
            number: before.number + 1,
            kept: (before.kept + 1).min(self.limits.max_files.into()),
            heads,
        }
    }

    fn write_head(&mut self, head: FileHead) -> io::Result<()> {
        self.write_records(b"", &[Record::File(head.clone())])?;
        self.known = Some(head);
        (self.has_head, self.is_fresh) = (true, true);
        Ok(())
    }

    fn write_records(&mut self, prefix: &[u8], records: &[Record]) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let now = self.clock.now();
        let lines: Vec<u8> = records.iter().flat_map(|record| record.to_line(now)).collect();
        let batch = Batch::seal_after(prefix, &mut self.chain, &lines, u64::MAX, true);
        self.write(&batch, length).ended
    }

    /// What of it is not written is taken back from the file and from the chain, by whole lines.
    fn write(&mut self, batch: &Batch, length: u64) -> Written {
        let mut written = 0;
        let ended = loop {
            match self.file.write(&batch.sealed[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => break Err(failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into())),
            }
            if written == batch.sealed.len() {
                break Ok(());
            }
        };
        let lines = batch.whole_lines(written);
        if ended.is_err() {
            let kept = batch.sealed_bytes(lines);
            if kept < written {
                // If it fails, the line stays torn, which the next one says.
                let _torn = self.file.set_len(length + kept as u64);
            }
            self.chain.rewind(batch.head_after(lines));
        }
        Written { lines, ended }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let before = self.known.clone().unwrap_or_else(first_head);
        // Asked before the file is read for its heads: while it must wait, that would be done at every attempt.
        let place = self.successor(&before, BTreeMap::new(), 0);
        if !self.backlog.lets_go(place.number + 1 - place.kept) {
            return Err(io::Error::other(
                "the next file would take the place of one whose lines the database does not have yet",
            ));
        }
        let mut heads = heads_after(&self.path)?;
        while heads.len() > MAX_HEADS {
            let idle = heads
                .keys()
                .find(|&chain| before.heads.get(chain) == heads.get(chain));
            let Some(&idle) = idle else { break };
            heads.remove(&idle);
        }
        let next = self.successor(&before, heads, self.chain.head().seq);
        self.file.sync_all()?;
        for age in self.limits.max_files - 1.. {
            if !remove_if_there(&numbered(&self.path, age))? {
                break;
            }
        }
        for age in (0..self.limits.max_files - 1).rev() {
            rename_if_there(&numbered(&self.path, age), &numbered(&self.path, age + 1))?;
        }
        self.file = open_for_append(&self.path)?;
        self.has_head = false;
        self.write_head(next)
    }
}

/// Lines with their seals, to be written at once.
struct Batch {
    sealed: Vec<u8>,
    before: ChainHead,
    lines: Vec<SealedLine>,
}

struct SealedLine {
    /// Where it ends, with its seal.
    sealed_end: usize,
    /// Where it ends as it was given.
    end: usize,
    head: ChainHead,
}

struct Written {
    lines: usize,
    ended: io::Result<()>,
}

impl Batch {
    /// As many of `lines` as fit into `room`, sealed; `at_least_one` is sealed if it fits or not.
    fn seal(chain: &mut Chain, lines: &[u8], room: u64, at_least_one: bool) -> Self {
        Self::seal_after(b"", chain, lines, room, at_least_one)
    }

    /// The same behind bytes that are nothing without the first of them.
    fn seal_after(prefix: &[u8], chain: &mut Chain, lines: &[u8], room: u64, at_least_one: bool) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut sealed = Vec::with_capacity(lines.len().min(room) + SEAL_BYTES);
        sealed.extend_from_slice(prefix);
        let mut batch = Self {
            sealed,
            before: chain.head(),
            lines: Vec::new(),
        };
        let mut end = 0;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let before = (chain.head(), batch.sealed.len());
            chain.seal(line, &mut batch.sealed);
            let must = at_least_one && batch.lines.is_empty();
            if batch.sealed.len() > room && !must {
                chain.rewind(before.0);
                batch.sealed.truncate(before.1);
                break;
            }
            end += line.len();
            batch.lines.push(SealedLine {
                sealed_end: batch.sealed.len(),
                end,
                head: chain.head(),
            });
        }
        batch
    }

    fn whole_lines(&self, written: usize) -> usize {
        self.lines.partition_point(|line| line.sealed_end <= written)
    }

    fn nth(&self, lines: usize) -> Option<&SealedLine> {
        self.lines.get(lines.checked_sub(1)?)
    }

    fn taken(&self, lines: usize) -> usize {
        self.nth(lines).map_or(0, |line| line.end)
    }

    fn sealed_bytes(&self, lines: usize) -> usize {
        self.nth(lines).map_or(0, |line| line.sealed_end)
    }

    fn head_after(&self, lines: usize) -> ChainHead {
        self.nth(lines).map_or(self.before, |line| line.head)
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory),
        _ => Ok(()),
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o777 != FILE_MODE && metadata.is_file() {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Of the file that would stand before the first one.
fn first_head() -> FileHead {
    FileHead {
        log: Hex128::random(),
        number: 0,
        kept: 0,
        heads: BTreeMap::new(),
    }
}

fn head_of(path: &Path) -> io::Result<Option<FileHead>> {
    match File::open(path) {
        Ok(file) => files::head(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Files of a version before chains: none of their lines could ever be verified, so they are no part of the log.
fn set_aside_what_is_not_sealed(path: &Path, now: DateTime<Utc>) -> io::Result<()> {
    if files::begins_sealed(path)? {
        return Ok(());
    }
    for age in 0.. {
        let from = numbered(path, age);
        if !fs::exists(&from)? {
            break;
        }
        let mut to = from.clone().into_os_string();
        to.push(format!(".unsealed-{}", now.format("%Y%m%dT%H%M%S")));
        fs::rename(&from, &to)?;
        tracing::warn!(
            file = %Path::new(&to).display(),
            "an audit file whose lines are in no chain was set aside"
        );
    }
    Ok(())
}

/// Left by a process that was killed while it wrote, or by a disk that was full.
fn torn_end(file: &File, length: u64) -> io::Result<Option<Record>> {
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last == [b'\n'] {
        return Ok(None);
    }
    let piece = Backwards::new(file.try_clone()?)?.next()?.unwrap_or_default();
    Ok(Some(Record::Torn {
        bytes: piece.len() as u64,
        sha256: sha256_hex(&piece),
    }))
}

fn last_sealed(path: &Path) -> io::Result<Option<Predecessor>> {
    #[derive(Deserialize)]
    struct Stamp {
        ts: DateTime<Utc>,
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = Backwards::new(file)?;
    while let Some(line) = lines.next()? {
        let stamp = serde_json::from_slice::<Stamp>(&line).ok();
        if let (Some(seal), Some(Stamp { ts })) = (Seal::of(&line), stamp) {
            let (chain, seq) = (seal.chain, seal.seq);
            return Ok(Some(Predecessor { chain, seq, ts }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::clock::ManualClock;
    use serde_json::Value;

    use super::*;
    use crate::audit::chain::AuditKey;

    fn log(path: &Path, max_bytes: u64, max_files: u32) -> JsonlFile {
        let limits = LogLimits { max_bytes, max_files };
        let chain = Chain::new(AuditKey::for_tests(1));
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
        JsonlFile::open(path, limits, chain, Arc::new(Backlog::new(true)), clock).unwrap()
    }

    fn lines(from: u32, to: u32) -> String {
        (from..to)
            .map(|number| format!("{{\"line\":\"{number:04}\"}}\n"))
            .collect()
    }

    /// Of a file, without the seals and the records.
    fn text(path: &Path) -> String {
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = |line: &str| {
            serde_json::from_str::<Value>(line).ok()?["line"]
                .as_str()?
                .parse()
                .ok()
        };
        text.lines()
            .filter_map(number)
            .map(|number| lines(number, number + 1))
            .collect()
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = log(&path, 1_200, 3);
        file.append(&mut lines(0, 50).as_bytes()).unwrap();
        let kept = [2, 1, 0].map(|age| text(&numbered(&path, age))).concat();
        assert!(
            lines(0, 50).ends_with(&kept) && kept.len() < lines(0, 50).len(),
            "{kept}"
        );
        assert!(!numbered(&path, 3).exists());
        for age in 0..3 {
            assert!(fs::metadata(numbered(&path, age)).unwrap().len() <= 1_200);
        }
    }

    #[test]
    fn one_file_begins_anew_when_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = log(&path, 1_200, 1);
        file.append(&mut lines(0, 20).as_bytes()).unwrap();
        assert!(lines(0, 20).ends_with(&text(&path)) && !text(&path).is_empty());
        assert!(!numbered(&path, 1).exists());
    }

    #[test]
    fn a_line_longer_than_a_file_is_kept_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = log(&path, 10, 3);
        file.append(&mut lines(0, 2).as_bytes()).unwrap();
        assert_eq!(
            (text(&numbered(&path, 1)), text(&path)),
            (lines(0, 1), lines(1, 2))
        );
    }

    #[test]
    fn two_writers_of_one_log_lose_nothing_when_either_rotates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut one = log(&path, 1_200, 100);
        let mut other = log(&path, 1_200, 100);
        for number in 0..50 {
            let writer = if number % 3 == 0 { &mut one } else { &mut other };
            writer.append(&mut lines(number, number + 1).as_bytes()).unwrap();
        }
        let all: String = (0..100).rev().map(|age| text(&numbered(&path, age))).collect();
        assert_eq!(all, lines(0, 50));
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/audit.jsonl");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _file = log(&path, 64, 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_line_of_a_killed_process_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        fs::write(&path, "{\"li").unwrap();
        log(&path, 10_000, 3).append(&mut lines(0, 1).as_bytes()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("{\"li\n{"));
        assert_eq!(text(&path), lines(0, 1));
    }

    #[test]
    fn a_file_whose_lines_were_not_sent_is_not_deleted_where_nothing_may_be_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = log(&path, 1_200, 2);
        file.backlog = Arc::new(Backlog::new(false));
        file.backlog.is_reading(1);
        let all = lines(0, 50);
        let mut rest = all.as_bytes();
        file.append(&mut rest).unwrap_err();
        let kept = [1, 0].map(|age| text(&numbered(&path, age))).concat();
        assert_eq!(kept + &String::from_utf8_lossy(rest), all);
        file.backlog.is_reading(u64::MAX);
        file.append(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}
