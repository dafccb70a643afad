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
            OpenError::Migrate(_) => "migration",
            OpenError::Stopped => "stopped",
        }
    }
}
