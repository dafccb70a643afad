//! The durable truth about tools, behind one trait with two implementations. It stores and compares; what a tool may
//! be is decided before it comes here.

pub mod cache;
mod import;
mod migrations;
mod open_error;
mod postgres;
mod row;
pub mod schema;
mod sqlite;
mod tool;
mod write;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::TenantId;
use tokio::sync::broadcast;

use crate::tenant::{TenantRecord, TenantSettings};

pub use self::open_error::OpenError;
pub use self::postgres::{PostgresConfig, PostgresRegistry, Roles, prepare};
pub use self::sqlite::SqliteRegistry;
pub use self::tool::{
    Example, History, InvalidTool, Past, Revision, RuntimeChoice, ToolName, ToolRecord, ToolSpec,
};

/// What a receiver of changes may fall behind before it must take everything for changed.
const CHANGES_KEPT: usize = 1024;

/// All that is stored of a tenant as it is now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holdings {
    /// Disabled ones too, by name.
    pub tools: Vec<ToolRecord>,
    pub tenant: TenantRecord,
}

/// Every write is atomic and tells [`Registry::changes`], on every replica. Each of a tool appends an immutable revision.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    async fn load(&self, tenant: &TenantId) -> Result<Holdings, RegistryError>;

    /// What the operator set for a tenant; nothing, at revision 0, where that never happened.
    async fn tenant(&self, tenant: &TenantId) -> Result<TenantRecord, RegistryError>;

    /// Replaces it if it still has the revision `expected`.
    async fn set_tenant(
        &self,
        tenant: &TenantId,
        settings: &TenantSettings,
        expected: u64,
        actor: &str,
    ) -> Result<TenantRecord, RegistryError>;

    async fn get(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError>;

    /// The revisions of a name below `before`, the newest first, `limit` of them at most; of a deleted tool too.
    async fn history(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, RegistryError>;

    /// What a tool was at a revision; both of its times are when that was written.
    async fn revision(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<ToolRecord>, RegistryError>;

    /// Fails when the name is taken or the tenant has `max_tools` already. The revision goes on from the last one of
    /// that name, a deleted tool's included; the first is 1.
    async fn create(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        max_tools: usize,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError>;

    /// Replaces the tool of that name if it still has the revision `expected`.
    async fn update(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        expected: Revision,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError>;

    /// Deletes it if it still has the revision `expected`, whatever it has when that is `None`. Answers what was deleted.
    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError>;

    /// What changed, by whichever replica. A receiver that lagged must take it for [`Change::Unknown`].
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Whether the store answers, within a bounded time.
    async fn check(&self) -> Result<(), RegistryError>;

    /// Ends the store's tasks and closes its connections.
    async fn close(&self);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A tool of this tenant was written.
    Tenant(TenantId),
    /// Changes may have been missed (a listener was lost): reload everything.
    Unknown,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no tool named {0:?}")]
    NotFound(ToolName),
    #[error("a tool named {0:?} exists already; use dynamic.tool.update to change it")]
    AlreadyExists(ToolName),
    #[error(
        "tool {name:?} is at revision {actual}, not at the expected revision {expected}; read it again and retry"
    )]
    Conflict {
        name: ToolName,
        expected: Revision,
        actual: Revision,
    },
    #[error(
        "{limit} tools exist already, the most allowed here; delete one first, or ask the operator for more"
    )]
    TooMany { limit: usize },
    #[error(
        "the tenant's settings are at revision {actual}, not at the expected revision {expected}; read them again and retry"
    )]
    SettingsConflict { expected: u64, actual: u64 },
    /// The store does not answer or is at fault; the text is for the log.
    #[error("the tool registry is not available right now; try again shortly")]
    Unavailable { detail: String },
}

impl RegistryError {
    /// Its short name.
    pub const fn kind(&self) -> &'static str {
        match self {
            RegistryError::NotFound(_) => "not_found",
            RegistryError::AlreadyExists(_) => "already_exists",
            RegistryError::Conflict { .. } | RegistryError::SettingsConflict { .. } => "conflict",
            RegistryError::TooMany { .. } => "too_many",
            RegistryError::Unavailable { .. } => "unavailable",
        }
    }
}
