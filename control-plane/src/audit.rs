//! Who did what, when, and what came of it: an entry is opened before an action and closed after it, as two appended
//! lines of JSON in a local file. Never code, arguments, results or tokens.
//!
//! The lines of a process are a chain under a key ([`chain`]), whose head is anchored in another store, or which is in
//! the database besides ([`store`]); [`verify`] finds what was changed, left out or cut off in either.
//!
//! With [`OnLoss::Continue`] an action never waits for the disk. It waits a moment only when the disk is far behind; when
//! the disk fails for longer than its lines can be kept, lines are lost, and how many is said by `/readyz`, a metric and
//! the file itself. With [`OnLoss::Block`] no action begins before its opening line is in the file.

mod backlog;
mod chain;
mod columns;
pub mod command;
mod entry;
mod files;
mod jsonl;
mod line;
mod query;
mod queue;
mod record;
mod redact;
mod store;
mod trail;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::readiness::Readiness;
use serde_json::{Map, Value};

use self::backlog::Backlog;
use self::chain::{AuditKey, Chain};
pub use self::chain::{Hex128, KeyError};
pub use self::entry::Entry;
use self::jsonl::{JsonlFile, LogLimits};
pub use self::query::{Cursor, Entry as PastEntry, Filter, Page};
use self::queue::Queue;
pub use self::queue::Unaudited;
pub use self::store::{AnchorFile, Keeper, PostgresAudit, StoreError};
pub use self::trail::{Trail, TrailError};
pub use self::verify::{Finding, OpenEntry, Unclosed, Verified};
use crate::principal::Caller;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub enabled: bool,
    pub file: PathBuf,
    pub key: KeyFile,
    pub on_loss: OnLoss,
    /// In Postgres.
    pub retention: Duration,
    /// A longer line has its details replaced by a mark.
    pub max_event_bytes: usize,
    pub max_file_bytes: u64,
    /// With the one that is being written.
    pub max_files: u32,
}

/// Where the key of the chains is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// The operator's, who sees to it that it is there.
    Given(PathBuf),
    /// The server's own, made with its first start.
    Own(PathBuf),
}

impl KeyFile {
    pub fn path(&self) -> &Path {
        match self {
            KeyFile::Given(path) | KeyFile::Own(path) => path,
        }
    }

    fn open(&self) -> Result<AuditKey, KeyError> {
        match self {
            KeyFile::Given(path) => AuditKey::read(path),
            KeyFile::Own(path) => AuditKey::read_or_make(path),
        }
    }
}

/// What happens to actions while their entries can't be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// They are refused before they begin.
    Block,
    /// They go on, and what is missing is counted and said.
    Continue,
}

impl OnLoss {
    pub const fn as_str(self) -> &'static str {
        match self {
            OnLoss::Block => "block",
            OnLoss::Continue => "continue",
        }
    }
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
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the audit writer can't be started")]
    Writer(#[source] std::io::Error),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Audit(Option<Arc<Log>>);

struct Log {
    file: PathBuf,
    queue: Arc<Queue>,
    backlog: Arc<Backlog>,
    clock: Arc<dyn Clock>,
    /// An entry's line without its seal.
    max_line_bytes: usize,
    /// An entry's id is this and a number: unique, in order, and made without asking the system for randomness.
    chain: Hex128,
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
        let chain = Chain::new(config.key.open()?);
        let id = chain.id();
        let backlog = Arc::new(Backlog::new(config.on_loss == OnLoss::Continue));
        let limits = LogLimits {
            max_bytes: config.max_file_bytes,
            max_files: config.max_files,
        };
        let file = JsonlFile::open(
            &config.file,
            limits,
            chain,
            Arc::clone(&backlog),
            Arc::clone(&clock),
        )
        .map_err(|source| AuditError::Open {
            file: config.file.clone(),
            source,
        })?;
        let queue =
            Queue::start(file, Arc::clone(&clock), readiness, config.on_loss).map_err(AuditError::Writer)?;
        Ok(Self(Some(Arc::new(Log {
            file: config.file.clone(),
            queue,
            backlog,
            clock,
            max_line_bytes: config.max_event_bytes.saturating_sub(chain::SEAL_BYTES),
            chain: id,
            entries: AtomicU64::new(0),
        }))))
    }

    /// Writes nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Writes the opening line. An entry that is dropped instead of closed is closed as abandoned.
    ///
    /// # Errors
    /// With [`OnLoss::Block`], when the line can't be written; then the action must not begin.
    pub async fn begin(&self, caller: &Caller, action: Action<'_>) -> Result<Entry, Unaudited> {
        Entry::begin(self.0.clone(), caller, action).await
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
        format!("aud_{}-{number:x}", self.chain)
    }
}

#[cfg(test)]
mod tests;
