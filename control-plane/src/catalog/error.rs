//! Why a write did not happen, in words for its author.

use std::time::Duration;

use dynamic_mcp_shared::policy::PolicyError;

use crate::audit::Unaudited;
use crate::auth::Forbidden;
use crate::registry::{InvalidTool, RegistryError, Revision, ToolName};
use crate::runtimes::NoRuntime;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Invalid(#[from] InvalidTool),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    #[error("{0}")]
    Dependencies(String),
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("this server is read-only (MCP_DYNAMIC_READ_ONLY): tools can be called, not changed")]
    ReadOnly,
    #[error("tool {name:?} has no revision {revision}; dynamic.tool.history shows which there are")]
    NoRevision { name: ToolName, revision: Revision },
    #[error("example {number} of {of} fails, and nothing was written: {why}")]
    Example { number: usize, of: usize, why: String },
    #[error("example {number} could not be run now, and nothing was written: {why}")]
    Untried {
        number: usize,
        why: String,
        retry_after: Option<Duration>,
    },
    #[error("the request was cancelled; nothing was written")]
    Cancelled,
    #[error("the dependencies could not be resolved now, and nothing was written: {0}")]
    Unavailable(String),
    #[error(transparent)]
    Unaudited(#[from] Unaudited),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl CatalogError {
    pub fn kind(&self) -> &'static str {
        match self {
            CatalogError::Invalid(_) => "invalid",
            CatalogError::Policy(_) => "policy",
            CatalogError::Runtime(NoRuntime::Contradiction { .. }) => "invalid",
            CatalogError::Runtime(NoRuntime::NeedsDocker { .. }) => "unsatisfiable",
            CatalogError::Dependencies(_) => "dependencies",
            CatalogError::Forbidden(_) => "forbidden",
            CatalogError::ReadOnly => "read_only",
            CatalogError::Example { .. } => "example",
            CatalogError::NoRevision { .. } => "not_found",
            CatalogError::Cancelled => "cancelled",
            CatalogError::Unavailable(_) | CatalogError::Untried { .. } | CatalogError::Unaudited(_) => {
                "unavailable"
            }
            CatalogError::Registry(error) => error.kind(),
        }
    }
}
