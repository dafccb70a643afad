//! One session.

use dynamic_mcp_shared::ids::{ExecutorId, SandboxId, TenantId};
use dynamic_mcp_shared::job::SandboxSession;
use dynamic_mcp_shared::limits::TimeoutMs;
use serde::{Deserialize, Serialize};

use super::Owner;

/// The one life of one executor that has a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    pub executor: ExecutorId,
    pub epoch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SandboxId,
    pub tenant: TenantId,
    /// [`Owner::key`].
    pub owner: String,
    pub image: String,
    /// What a command gets that names no time-out of its own.
    pub timeout: TimeoutMs,
    pub home: Home,
    /// Milliseconds since 1970, as its executor has them.
    pub created_ms: i64,
    pub last_used_ms: i64,
}

impl Session {
    pub fn announced(session: &SandboxSession, home: Home) -> Self {
        Self {
            id: session.id.clone(),
            tenant: session.tenant.clone(),
            owner: session.owner.clone(),
            image: session.image.clone(),
            timeout: session.timeout,
            home,
            created_ms: session.created_ms,
            last_used_ms: session.last_used_ms,
        }
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        self.tenant == owner.tenant && self.owner == owner.key
    }
}
