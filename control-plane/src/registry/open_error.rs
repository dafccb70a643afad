//! Why a registry could not be opened, in words for the operator.

use std::io;
use std::path::PathBuf;

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("can't use the tool store {} (MCP_DYNAMIC_STORE)", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("can't {step} the tool store {} (MCP_DYNAMIC_STORE)", path.display())]
    Sqlite {
        step: &'static str,
        path: PathBuf,
        source: Source,
    },
    #[error("can't import the JSON store {}, nothing was changed: {faults}", path.display())]
    Import { path: PathBuf, faults: String },
    #[error("MCP_DYNAMIC_PG_URL is not a URL of the form postgres://user:password@host:port/database")]
    PostgresUrl,
    #[error(
        "MCP_DYNAMIC_PG_SCHEMA must have 1 to 63 lower-case letters, digits and '_', not begin with a digit or \"pg_\", got {0:?}"
    )]
    SchemaName(String),
    #[error("can't reach Postgres (MCP_DYNAMIC_PG_URL) after {attempts} attempts")]
    Postgres { attempts: u32, source: Source },
    #[error("can't migrate the schema of the tool registry")]
    Migrate(#[source] Source),
    #[error(
        "the schema of the tool registry (MCP_DYNAMIC_PG_SCHEMA) is not that of this version, and the role of \
         MCP_DYNAMIC_PG_URL may not change it: run `dynamic-mcp migrate` with the URL of its owner"
    )]
    NotMigrated(#[source] Source),
    #[error("there is no database role {0:?}; make it first: CREATE ROLE \"{0}\" LOGIN PASSWORD '…'")]
    NoRole(String),
    #[error(
        "the database role {0:?} would not be held to one tenant: it is a superuser, has BYPASSRLS, or is a member of \
         the role that owns the schema; use another one"
    )]
    RoleAboveTenants(String),
    #[error("stopped while the tool registry was being opened")]
    Stopped,
}

impl OpenError {
    pub const fn kind(&self) -> &'static str {
        match self {
            OpenError::File { .. } => "file",
            OpenError::Sqlite { .. } => "sqlite",
            OpenError::Import { .. } => "import",
            OpenError::PostgresUrl | OpenError::SchemaName(_) => "configuration",
            OpenError::Postgres { .. } => "unreachable",
            OpenError::Migrate(_) | OpenError::NotMigrated(_) => "migration",
            OpenError::NoRole(_) | OpenError::RoleAboveTenants(_) => "roles",
            OpenError::Stopped => "stopped",
        }
    }
}
