//! Why there is no session to work in, or it did not take the work.

use std::time::Duration;

use super::DirectoryLost;

const SOON: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The same for a session of somebody else's as for one that never existed.
    #[error(
        "you have no sandbox session with this sessionId; sandbox.initialize opens one, sandbox.session.list shows yours"
    )]
    Unknown,
    #[error(
        "the sandbox session has no command with this commandId; sandbox.exec with background: true answers with one"
    )]
    UnknownCommand,
    #[error(
        "the sandbox session has ended, and its files with it ({why}); open another one with sandbox.initialize"
    )]
    Lost { why: String },
    #[error(
        "as many commands run in the sandbox session as may; wait for one, or end one with sandbox.command.kill"
    )]
    Busy,
    #[error("you look at {most} commands or lists of files already, as many as may be at once; try again")]
    LookedAt { most: usize },
    #[error("{}", full(*limit, *by_tenant))]
    Full { limit: u32, by_tenant: bool },
    #[error("no sandbox session could be opened: {why}")]
    NoPlace { why: String, may_pass: bool },
    #[error("the sandbox session's executor can't be reached now ({why}); try again")]
    Unreachable { why: String },
    #[error("the executor did not do it: {why}")]
    Refused { why: String },
    /// Something was to be changed.
    #[error("it may have been done, wholly or in part ({why}); look before you try again")]
    Unclear { why: String },
    /// The same for every session that is not found.
    #[error(
        "the directory of sandbox sessions was emptied and fills again from what executors have; try again"
    )]
    Filling,
    #[error(transparent)]
    DirectoryLost(#[from] DirectoryLost),
}

impl SandboxError {
    /// The short name of why nothing was done; `None` where that is not known.
    pub const fn reason(&self) -> Option<&'static str> {
        Some(match self {
            SandboxError::Unclear { .. } => return None,
            SandboxError::Unknown | SandboxError::UnknownCommand => "not_found",
            SandboxError::Lost { .. } => "session_lost",
            SandboxError::Busy | SandboxError::LookedAt { .. } => "session_busy",
            SandboxError::Full { .. } => "too_many_sessions",
            SandboxError::NoPlace { may_pass: true, .. } => "no_capacity",
            SandboxError::NoPlace { may_pass: false, .. } => "unsatisfiable",
            SandboxError::Unreachable { .. } | SandboxError::Filling | SandboxError::DirectoryLost(_) => {
                "unavailable"
            }
            SandboxError::Refused { .. } => "refused",
        })
    }

    /// When it is worth trying again, if it is.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            SandboxError::Busy
            | SandboxError::LookedAt { .. }
            | SandboxError::NoPlace { may_pass: true, .. }
            | SandboxError::Unreachable { .. }
            | SandboxError::Filling
            | SandboxError::DirectoryLost(_) => Some(SOON),
            SandboxError::Unknown
            | SandboxError::UnknownCommand
            | SandboxError::Lost { .. }
            | SandboxError::Full { .. }
            | SandboxError::NoPlace { may_pass: false, .. }
            | SandboxError::Refused { .. }
            | SandboxError::Unclear { .. } => None,
        }
    }
}

fn full(limit: u32, by_tenant: bool) -> String {
    let whose = if by_tenant {
        "of your tenant"
    } else {
        "of this deployment"
    };
    format!(
        "all {limit} sandbox sessions {whose} are open; stop one with sandbox.stop, or wait until one has been idle for too long"
    )
}
