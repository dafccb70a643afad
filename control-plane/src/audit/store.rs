//! The other store: beside SQLite a file of anchors, so that a log that was cut is found out; in Postgres the anchors and
//! the lines themselves. Whatever it is, it follows the files and is never waited for by an action.

mod anchors;
mod keeper;
mod postgres;
mod sender;
mod tail;

use chrono::{DateTime, Utc};

pub use self::anchors::AnchorFile;
pub use self::keeper::Keeper;
pub use self::postgres::PostgresAudit;
pub(super) use self::postgres::{StoredLine, anchors, may_see_all};
use super::chain::Hex128;

/// How far a chain has come, as the other store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) chain: Hex128,
    /// The files that it is in.
    pub(super) log: Hex128,
    /// Where these are: host and path.
    pub(super) place: String,
    pub(super) seq: u64,
    pub(super) mac: Hex128,
    /// When that line was written.
    pub(super) at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("can't {step} the audit's store")]
    Sql {
        step: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("the audit's store does not answer in time")]
    Timeout,
    #[error("the audit's own files can't be read")]
    Files(#[source] std::io::Error),
    #[error("MCP_DYNAMIC_PG_URL: {0}")]
    Config(String),
}

impl StoreError {
    pub(super) fn sql(step: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| StoreError::Sql { step, source }
    }

    /// For a person who looks at `/readyz`.
    pub fn explained(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

/// The host's name and the file's, as an auditor would ask for them.
pub(super) fn place(file: &std::path::Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    // Its directory's true name: the file itself may be gone.
    let directory = absolute.parent().and_then(|parent| parent.canonicalize().ok());
    let path = match (directory, absolute.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => absolute,
    };
    format!("{}:{}", host.trim(), path.display())
}

/// A column that holds a number of ours, none of which is negative or above 2^63.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
