//! Which executor has which session, for all replicas.

mod memory;
mod redis;

use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::SandboxId;

pub use self::memory::MemoryDirectory;
pub use self::redis::RedisDirectory;
use super::{Owner, Session};

#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Takes one of the places that there are for a session that is about to be opened.
    async fn claim(&self, session: &Session, most: Most) -> Result<Claim, DirectoryLost>;

    /// The session is open. Answers `false` when its claim is not there any more: then it has to be stopped.
    async fn settle(&self, session: &Session) -> Result<bool, DirectoryLost>;

    /// One that is opening is not there yet.
    async fn find(&self, id: &SandboxId) -> Result<Option<Found>, DirectoryLost>;

    /// It is no more, in that home of it. Answers whether it was there. An executor that announces it again is to stop it.
    async fn end(&self, session: &Session) -> Result<bool, DirectoryLost>;

    /// Open ones, the oldest first.
    async fn of_owner(&self, owner: &Owner) -> Result<Vec<Session>, DirectoryLost>;

    /// Its home says that it has it.
    async fn announce(&self, session: &Session) -> Result<Announced, DirectoryLost>;

    /// Another one once everything was forgotten: all that is open has to be announced again. Whoever announces asks for it
    /// each time.
    async fn generation(&self) -> Result<u64, DirectoryLost>;

    /// Whether that was just now, so that one which is not found may be open all the same.
    async fn is_filling(&self) -> Result<bool, DirectoryLost>;
}

/// Sessions that may be open or opening at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    pub in_all: u32,
    pub of_tenant: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Made,
    Full,
    TenantFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Open(Session),
    /// It is told for a while, so that who had it learns that it is gone.
    Ended(Session),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// As it should be.
    Known,
    /// Nobody has it, or somebody else does: the executor is to stop it.
    Unwanted,
}

/// How long what is known of a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// After its claim, until it is open.
    pub opening: Duration,
    /// After it was announced last, as one of those that are counted and listed.
    pub announced: Duration,
    /// As one that was: longer than any session lives.
    pub kept: Duration,
    /// After everything was forgotten, until all that is open was announced again: each replica looks once a second.
    pub filling: Duration,
}

impl Times {
    /// `max_life`: how long a session lives at most.
    pub fn for_sessions_of(max_life: Duration) -> Self {
        Self {
            opening: Duration::from_secs(90),
            announced: Duration::from_secs(30),
            kept: max_life + Duration::from_secs(600),
            filling: Duration::from_secs(3),
        }
    }
}

/// Where sessions are can't be told now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the directory of sandbox sessions can't be reached ({0}); try again")]
pub struct DirectoryLost(pub String);
