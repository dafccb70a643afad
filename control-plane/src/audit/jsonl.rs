//! A file of lines that is appended to and rotated: `audit.jsonl`, then `audit.jsonl.1` (the newest old one) and so on.
//!
//! Several processes may append to the same file, as the servers of one user's clients do. Each batch is one appending
//! write, whoever rotates holds the file's lock, and the others notice that the path names another file by now.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

/// Only the owner reads who did what.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[derive(Debug)]
pub(super) struct JsonlFile {
    path: PathBuf,
    file: File,
    max_bytes: u64,
    max_files: u32,
}

impl JsonlFile {
    pub(super) fn open(path: &Path, max_bytes: u64, max_files: u32) -> io::Result<Self> {
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)?;
        }
        let file = open_for_append(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            max_bytes,
            max_files: max_files.max(1),
        })
    }

    /// Appends whole lines, rotating where they don't fit. Takes from `lines` what is written; after an error the rest
    /// can be given again, beginning with a whole line.
    pub(super) fn append(&mut self, lines: &mut &[u8]) -> io::Result<()> {
        if !self.is_current()? {
            self.file = open_for_append(&self.path)?;
        }
        while !lines.is_empty() {
            let length = self.file.metadata()?.len();
            let room = self.max_bytes.saturating_sub(length);
            match fitting_lines(lines, room) {
                0 if length > 0 => self.rotate()?,
                fitting => {
                    // A line that is longer than a whole file gets a file of its own.
                    let count = if fitting == 0 { first_line(lines) } else { fitting };
                    self.write(&lines[..count], length)?;
                    *lines = &lines[count..];
                }
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
        self.file = Self::open(&self.path, self.max_bytes, self.max_files)?.file;
        Ok(())
    }

    fn write(&mut self, lines: &[u8], length: u64) -> io::Result<()> {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => {
                    self.take_back(length, written as u64);
                    return Err(failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
                }
            }
        }
        Ok(())
    }

    /// A disk that fills up takes half a line. It is cut off again, unless another process wrote behind it.
    fn take_back(&self, length: u64, written: u64) {
        let ours_is_last = self
            .file
            .metadata()
            .is_ok_and(|now| now.len() == length + written);
        if written > 0 && ours_is_last {
            // If it fails, the line stays torn, and the next one is written whole.
            let _torn = self.file.set_len(length);
        }
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

    fn rotate(&mut self) -> io::Result<()> {
        self.file.lock()?;
        // Another process may have rotated while this one waited for the lock.
        if self.is_current()? {
            self.file.sync_all()?;
            for index in (1..self.max_files.saturating_sub(1)).rev() {
                rename_if_there(&self.numbered(index), &self.numbered(index + 1))?;
            }
            if self.max_files > 1 {
                rename_if_there(&self.path, &self.numbered(1))?;
            } else {
                fs::remove_file(&self.path)?;
            }
        }
        // The lock goes with the old file.
        self.file = open_for_append(&self.path)?;
        Ok(())
    }

    fn numbered(&self, index: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{index}"));
        PathBuf::from(name)
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o777 != FILE_MODE && metadata.is_file() {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    if ends_in_half_a_line(&file, metadata.len())? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Left by a process that was killed while it wrote.
fn ends_in_half_a_line(file: &File, length: u64) -> io::Result<bool> {
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last != [b'\n'])
}

/// How many bytes at the beginning of `lines` are whole lines and fit into `room`.
fn fitting_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines[..room]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(lines.len(), |end| end + 1)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: u32, to: u32) -> String {
        (from..to)
            .map(|number| format!("{{\"line\":{number:04}}}\n"))
            .collect()
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = JsonlFile::open(&path, 64, 3).unwrap();
        file.append(&mut lines(0, 14).as_bytes()).unwrap();
        assert_eq!(text(&path), lines(12, 14));
        assert_eq!(text(&file.numbered(1)), lines(8, 12));
        assert_eq!(text(&file.numbered(2)), lines(4, 8));
        assert!(!file.numbered(3).exists());
    }

    #[test]
    fn one_file_begins_anew_when_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = JsonlFile::open(&path, 64, 1).unwrap();
        file.append(&mut lines(0, 5).as_bytes()).unwrap();
        assert_eq!(text(&path), lines(4, 5));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_longer_than_a_file_is_kept_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut file = JsonlFile::open(&path, 10, 3).unwrap();
        file.append(&mut lines(0, 2).as_bytes()).unwrap();
        assert_eq!((text(&file.numbered(1)), text(&path)), (lines(0, 1), lines(1, 2)));
    }

    #[test]
    fn two_writers_of_one_file_lose_nothing_when_either_rotates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut one = JsonlFile::open(&path, 64, 100).unwrap();
        let mut other = JsonlFile::open(&path, 64, 100).unwrap();
        for number in 0..50 {
            let writer = if number % 3 == 0 { &mut one } else { &mut other };
            writer.append(&mut lines(number, number + 1).as_bytes()).unwrap();
        }
        let all: String = (1..100).rev().map(|index| text(&one.numbered(index))).collect();
        assert_eq!(all + &text(&path), lines(0, 50));
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/audit.jsonl");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _file = JsonlFile::open(&path, 64, 3).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_line_of_a_killed_process_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        fs::write(&path, "{\"li").unwrap();
        JsonlFile::open(&path, 1_000, 3)
            .unwrap()
            .append(&mut lines(0, 1).as_bytes())
            .unwrap();
        assert_eq!(text(&path), format!("{{\"li\n{}", lines(0, 1)));
    }
}
