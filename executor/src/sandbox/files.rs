//! Files of a session, a chunk at a time in either direction: the next one is asked for when the one before was taken, so
//! that a slow caller holds up nobody and nothing holds a whole file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use dynamic_mcp_shared::files::{FileKind, FileProblemKind};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Lost;
use super::agent::{Agent, Line};
use super::frames::{Frame, MAX_PAYLOAD, Order, Word};
use super::path::{MAX_PATH, within_workspace};
use super::session::{InUse, Session};

/// Entries that one listing holds at most.
pub const MAX_ENTRIES: u32 = 10_000;
/// What the agent may say of one entry beside its path.
const MAX_ENTRY_BYTES: usize = 256;
/// For the agent to tell a listing, which takes one of the executor's few turns.
const LISTING: Duration = Duration::from_secs(20);
const MODE: u32 = 0o644;
const PERMISSIONS: u32 = 0o777;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    pub path: String,
    pub size: u64,
    /// Permission bits; 0 is 0644.
    pub mode: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Absolute.
    pub path: String,
    pub kind: FileKind,
    pub size: u64,
    pub modified_ms: i64,
    pub mode: u32,
}

/// Why a file was not written, read or listed. Others of the same call were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    pub path: String,
    pub kind: FileProblemKind,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<FileEntry>,
    /// There is more than is told.
    pub truncated: bool,
}

/// A listing as the agent tells it.
#[derive(Deserialize)]
struct Listed {
    entries: Readable,
    truncated: bool,
}

/// The entries that make sense, [`MAX_ENTRIES`] at most.
struct Readable {
    entries: Vec<FileEntry>,
    told: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Entry(FileEntry),
    Odd(IgnoredAny),
}

impl Listed {
    fn cut_to(self, max: usize) -> Listing {
        let Readable { mut entries, told } = self.entries;
        entries.truncate(max);
        Listing {
            truncated: self.truncated || entries.len() < told,
            entries,
        }
    }
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Readable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Readable, A::Error> {
                let (mut entries, mut told) = (Vec::new(), 0);
                while let Some(one) = all.next_element()? {
                    told += 1;
                    match one {
                        Told::Entry(entry) if entries.len() < MAX_ENTRIES as usize => entries.push(entry),
                        Told::Entry(_) | Told::Odd(_) => {}
                    }
                }
                Ok(Readable { entries, told })
            }
        }

        deserializer.deserialize_seq(Each)
    }
}

/// What the agent says of what it can't do.
#[derive(Debug, Deserialize)]
struct NotDone {
    kind: FileProblemKind,
    message: String,
}

/// What becomes of a part of a transfer: done, not done, or the session is gone.
type Part<T> = Result<Result<T, FileProblem>, Lost>;

/// The files of one call. The session is in use while it is there, unless it only looks.
pub struct Transfer<'a> {
    agent: &'a Arc<Agent>,
    listings: &'a Semaphore,
    _turn: SemaphorePermit<'a>,
    _use: Option<InUse>,
}

/// A file that is being written; dropping it before [`Self::commit`] leaves nothing of it.
pub struct Writing {
    line: Line,
    path: String,
}

/// A file that is being read.
pub struct Reading {
    pub entry: FileEntry,
    line: Line,
    path: String,
    left: u64,
}

impl Session {
    /// Waits its turn: a session has a few transfers at once.
    pub async fn transfer(self: &Arc<Self>) -> Result<Transfer<'_>, Lost> {
        let in_use = self.in_use();
        self.take_turn(Some(in_use)).await
    }

    /// For a look that keeps no session alive. Waits its turn as well.
    pub async fn peek(&self) -> Result<Transfer<'_>, Lost> {
        self.take_turn(None).await
    }

    async fn take_turn(&self, in_use: Option<InUse>) -> Result<Transfer<'_>, Lost> {
        Ok(Transfer {
            agent: &self.agent,
            listings: &self.listings,
            _turn: self.transfers.acquire().await.map_err(|_| Lost)?,
            _use: in_use,
        })
    }
}

impl Transfer<'_> {
    /// # Errors
    /// When the session is gone.
    pub async fn write(&self, header: &FileHeader) -> Part<Writing> {
        #[derive(Serialize)]
        struct Wanted {
            path: String,
            size: u64,
            mode: u32,
        }
        let relative = match within_workspace(&header.path) {
            Ok(relative) if relative.is_empty() => {
                let problem = FileProblem {
                    path: header.path.clone(),
                    kind: FileProblemKind::WrongKind,
                    message: "it is the workspace itself and no file".to_owned(),
                };
                return Ok(Err(problem));
            }
            Ok(relative) => relative,
            Err(problem) => return Ok(Err(problem)),
        };
        let wanted = Wanted {
            path: relative,
            size: header.size,
            mode: Some(header.mode & PERMISSIONS)
                .filter(|mode| *mode > 0)
                .unwrap_or(MODE),
        };
        let mut line = self.agent.transfer(Order::Write, &wanted).await?;
        let answered = done(&mut line, &header.path).await?;
        Ok(answered.map(|_| Writing {
            line,
            path: header.path.clone(),
        }))
    }

    /// `max`: of the file.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(&self, path: &str, max: u64) -> Part<Reading> {
        #[derive(Serialize)]
        struct Wanted {
            path: String,
            max: u64,
        }
        let relative = match within_workspace(path) {
            Ok(relative) => relative,
            Err(problem) => return Ok(Err(problem)),
        };
        let wanted = Wanted { path: relative, max };
        let mut line = self.agent.transfer(Order::Read, &wanted).await?;
        let frame = match done(&mut line, path).await? {
            Ok(frame) => frame,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(entry) = entry(&frame) else {
            return Ok(Err(not_understood(path)));
        };
        let left = entry.size.min(max);
        Ok(Ok(Reading {
            entry,
            line,
            path: path.to_owned(),
            left,
        }))
    }

    /// `max`: entries.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn list(&self, path: &str, recursive: bool, max: u32) -> Part<Listing> {
        #[derive(Serialize)]
        struct Wanted {
            path: String,
            recursive: bool,
            max: u32,
        }
        let relative = match within_workspace(path) {
            Ok(relative) => relative,
            Err(problem) => return Ok(Err(problem)),
        };
        let wanted = Wanted {
            path: relative,
            recursive,
            max: max.min(MAX_ENTRIES),
        };
        let _turn = self.listings.acquire().await.map_err(|_| Lost)?;
        let mut line = self.agent.transfer(Order::List, &wanted).await?;
        let most = (wanted.max as usize + 1) * (MAX_PATH + MAX_ENTRY_BYTES);
        let Ok(told) = timeout(LISTING, told_of_listing(&mut line, path, most)).await else {
            self.agent.give_up("it does not come to the end of a listing");
            return Err(Lost);
        };
        let json = match told? {
            Ok(json) => json,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(match serde_json::from_slice::<Listed>(&json) {
            Ok(listed) => Ok(listed.cut_to(wanted.max as usize)),
            Err(_) => Err(not_understood(path)),
        })
    }
}

impl Writing {
    /// # Errors
    /// When the session is gone.
    pub async fn push(&mut self, bytes: &[u8]) -> Part<()> {
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.line.order(Order::Data, chunk).await?;
            if let Err(problem) = done(&mut self.line, &self.path).await? {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(()))
    }

    /// From now on the file is there, whole.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn commit(mut self) -> Part<FileEntry> {
        self.line.order(Order::Commit, &[]).await?;
        match done(&mut self.line, &self.path).await? {
            Ok(frame) => {
                self.line.is_over();
                Ok(entry(&frame).ok_or_else(|| not_understood(&self.path)))
            }
            Err(problem) => Ok(Err(problem)),
        }
    }
}

impl Reading {
    /// `None` at its end. Never more than its entry said.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn next(&mut self) -> Part<Option<Bytes>> {
        self.line.order(Order::Next, &[]).await?;
        let frame = self.line.answer().await?;
        match frame.word {
            Word::Data if frame.payload.len() as u64 <= self.left => {
                self.left -= frame.payload.len() as u64;
                Ok(Ok(Some(frame.payload)))
            }
            Word::End if self.left == 0 => Ok(Ok(None)),
            Word::NotDone => Ok(Err(problem(&frame, &self.path))),
            _ => Err(Lost),
        }
    }
}

/// What the agent says of a listing, up to `most` bytes: as much as so many entries can take, whose names need no escapes.
async fn told_of_listing(line: &mut Line, path: &str, most: usize) -> Part<Vec<u8>> {
    let mut json = Vec::new();
    loop {
        let frame = line.answer().await?;
        match frame.word {
            Word::Data if json.len() + frame.payload.len() > most => {
                let problem = FileProblem {
                    path: path.to_owned(),
                    kind: FileProblemKind::TooLarge,
                    message: format!(
                        "what lies in it is told in more than {most} bytes; list a folder in it"
                    ),
                };
                return Ok(Err(problem));
            }
            Word::Data => json.extend_from_slice(&frame.payload),
            Word::End => return Ok(Ok(json)),
            Word::NotDone => return Ok(Err(problem(&frame, path))),
            _ => return Err(Lost),
        }
    }
}

async fn done(line: &mut Line, path: &str) -> Part<Frame> {
    let frame = line.answer().await?;
    match frame.word {
        Word::Done => Ok(Ok(frame)),
        Word::NotDone => Ok(Err(problem(&frame, path))),
        _ => Err(Lost),
    }
}

fn entry(frame: &Frame) -> Option<FileEntry> {
    serde_json::from_slice(&frame.payload).ok()
}

/// What makes no sense is said of one file, and is no reason to end a session.
fn not_understood(path: &str) -> FileProblem {
    FileProblem {
        path: path.to_owned(),
        kind: FileProblemKind::Refused,
        message: "what the sandbox says of it can't be understood".to_owned(),
    }
}

fn problem(frame: &Frame, path: &str) -> FileProblem {
    let told = serde_json::from_slice(&frame.payload).unwrap_or(NotDone {
        kind: FileProblemKind::Refused,
        message: "the sandbox could not do it".to_owned(),
    });
    FileProblem {
        path: path.to_owned(),
        kind: told.kind,
        message: told.message.chars().take(500).collect(),
    }
}
