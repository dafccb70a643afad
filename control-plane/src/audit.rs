//! Who did what, when, and what came of it: an entry is opened before an action and closed after it, as two appended
//! lines of JSON in a local file. Never code, arguments, results or tokens.
//!
//! An action never waits for the disk. It waits a moment only when the disk is far behind; when the disk fails for
//! longer than its lines can be kept, lines are lost, and how many is said by `/readyz`, a metric and the file itself.

mod entry;
mod jsonl;
mod line;
mod queue;
mod redact;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::random_uuid;
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::readiness::Readiness;
use serde_json::{Map, Value};

pub use self::entry::Entry;
use self::jsonl::JsonlFile;
use self::queue::Queue;
use crate::principal::Caller;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub enabled: bool,
    pub file: PathBuf,
    /// A longer line has its details replaced by a mark.
    pub max_event_bytes: usize,
    pub max_file_bytes: u64,
    /// With the one that is being written.
    pub max_files: u32,
}

/// What is about to be done.
#[derive(Debug, Clone)]
pub struct Action<'a> {
    /// `dynamic.tool.create`, `dynamic.exec`, `run_js_ephemeral`, …
    pub name: &'static str,
    /// The tool's name, when there is one.
    pub target: Option<&'a str>,
    pub revision: Option<u64>,
    /// Further fields, redacted before they are written.
    pub details: Map<String, Value>,
}

/// How it went.
#[derive(Debug, Clone)]
pub enum Verdict {
    Done,
    /// A job ended; its outcome says how.
    Ran {
        outcome: Outcome,
        duration: Duration,
    },
    /// Not allowed, or refused by a limit: the reason's short name, as `read_only`, `rate_limited`.
    Refused(&'static str),
    /// The caller's input, or the platform, was at fault: the error's short name.
    Failed(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit file {} can't be opened for appending (MCP_AUDIT_FILE)", file.display())]
    Open { file: PathBuf, source: std::io::Error },
    #[error("the audit writer can't be started")]
    Writer(#[source] std::io::Error),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Audit(Option<Arc<Log>>);

struct Log {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    max_event_bytes: usize,
    /// An entry's id is this and a number: unique, in order, and made without asking the system for randomness.
    run: String,
    entries: AtomicU64,
}

impl Audit {
    /// # Errors
    /// When the file can't be opened; a later fault degrades `readiness` and heals by itself.
    pub fn open(
        config: &AuditConfig,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
    ) -> Result<Self, AuditError> {
        if !config.enabled {
            return Ok(Self::disabled());
        }
        let file =
            JsonlFile::open(&config.file, config.max_file_bytes, config.max_files).map_err(|source| {
                AuditError::Open {
                    file: config.file.clone(),
                    source,
                }
            })?;
        let queue = Queue::start(file, Arc::clone(&clock), readiness).map_err(AuditError::Writer)?;
        Ok(Self(Some(Arc::new(Log {
            queue,
            clock,
            max_event_bytes: config.max_event_bytes,
            run: random_uuid().simple().to_string(),
            entries: AtomicU64::new(0),
        }))))
    }

    /// Writes nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Writes the opening line. An entry that is dropped instead of closed is closed as abandoned.
    pub fn begin(&self, caller: &Caller, action: Action<'_>) -> Entry {
        Entry::begin(self.0.clone(), caller, action)
    }

    /// Waits until what was written so far is in the file, for at most five seconds. Answers whether it is.
    pub async fn flush(&self) -> bool {
        match &self.0 {
            Some(log) => log.queue.flush().await,
            None => true,
        }
    }

    /// Waits until everything is on the disk, for at most five seconds, and takes no more. Answers whether it is.
    pub async fn flush_and_close(&self) -> bool {
        match &self.0 {
            Some(log) => log.queue.close().await,
            None => true,
        }
    }
}

impl Log {
    fn next_id(&self) -> String {
        let number = self.entries.fetch_add(1, Ordering::Relaxed);
        format!("aud_{}-{number:x}", self.run)
    }
}

#[cfg(test)]
mod tests;
