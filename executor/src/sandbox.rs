//! Sandbox sessions: sandboxes that stay for their owner, with the files and processes in them, until they are stopped,
//! idle for too long or too old.
//!
//! ```text
//! open ──▶ opening ──▶ open ──┬─ stopped, idle, at its greatest age, shutdown ─▶ gone, and its sandbox with it
//!             │               └─ its sandbox ended, or its agent broke the protocol ─▶ lost
//!             └─ the engine could not, or the caller went away: it never was
//! ```
//!
//! What runs in a session is told to the agent that lives in its sandbox, over one stream; ending a session needs no
//! word of that agent. The agent runs as the same user as the session's commands, which are hostile: whatever it says
//! may be one of theirs. So nothing of what it says is used beyond its own session, and all of it is bounded here.

mod agent;
mod background;
mod captured;
mod commands;
mod files;
mod frames;
mod path;
mod run_js;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod work;

pub use agent::Streams;
pub use background::{CommandState, CommandStatus};
pub use files::{
    FileEntry, FileHeader, FileKind, FileProblem, FileProblemKind, Listing, MAX_ENTRIES, Reading, Transfer,
    Writing,
};
pub use session::Session;
pub use table::{OpenSession, Owned, SandboxLimits, Sandboxes};

use std::time::Duration;

use dynamic_mcp_shared::ids::{SandboxId, TenantId};
use dynamic_mcp_shared::limits::ByteSize;

/// What an engine is asked for.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    pub id: SandboxId,
    pub tenant: TenantId,
    pub image: String,
    /// Where it is to be less than what a sandbox has here.
    pub memory: Option<ByteSize>,
    /// At this age it is gone.
    pub lives: Duration,
}

/// A sandbox with an agent in it that has not spoken yet. Dropping `lease` removes it.
pub struct OpenedSandbox {
    pub streams: Streams,
    pub lease: Box<dyn Send + Sync>,
    pub memory: ByteSize,
    pub pids: i64,
}

/// The agent, or the sandbox with it, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox session ended while this was done; open a new one")]
pub struct Lost;
