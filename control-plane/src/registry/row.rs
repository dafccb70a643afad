//! How a record lies in a row, the same in both stores: the whole spec as JSON, and beside it what a query needs.

use chrono::{DateTime, Utc};

use super::{History, Past, RegistryError, Revision, ToolRecord, ToolSpec};
use crate::tenant::{TenantRecord, TenantSettings};

/// The columns of `tools`, as the driver gives them.
pub(super) struct StoredTool {
    pub(super) name: String,
    pub(super) revision: i64,
    pub(super) content_hash: String,
    pub(super) spec: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

impl StoredTool {
    /// # Errors
    /// When the row isn't one that this version can have written.
    pub(super) fn into_record(self) -> Result<ToolRecord, RegistryError> {
        let unreadable = |what: &str, error: &dyn std::fmt::Display| RegistryError::Unavailable {
            detail: format!(
                "the stored tool {:?} has an unreadable {what}: {error}",
                self.name
            ),
        };
        let spec: ToolSpec = serde_json::from_str(&self.spec).map_err(|error| unreadable("spec", &error))?;
        Ok(ToolRecord {
            spec,
            revision: from_column(self.revision).map_err(|error| unreadable("revision", &error))?,
            content_hash: self
                .content_hash
                .parse()
                .map_err(|error| unreadable("content hash", &error))?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Leaves out what can't be read, with a line in the log: one row of a newer version must not take the other tools
/// of its tenant away.
pub(super) fn readable(rows: Vec<StoredTool>) -> Vec<ToolRecord> {
    rows.into_iter()
        .filter_map(|row| match row.into_record() {
            Ok(record) => Some(record),
            Err(RegistryError::Unavailable { detail }) => {
                tracing::error!(error = detail, "left a stored tool out");
                None
            }
            Err(_) => None,
        })
        .collect()
}

/// The columns of `tool_revisions`.
pub(super) struct StoredRevision {
    pub(super) tool: StoredTool,
    pub(super) action: String,
    pub(super) actor: String,
}

/// A page while its rows come. Each is put in and let go, for what a revision consists of can be a megabyte.
#[derive(Default)]
pub(super) struct HistoryPage {
    limit: usize,
    rows: usize,
    history: History,
    last: Option<Revision>,
}

impl HistoryPage {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            ..Self::default()
        }
    }

    /// The rows to ask for: one more, to know whether there is a next page.
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    pub(super) fn add(&mut self, row: StoredRevision) {
        self.rows += 1;
        if self.rows > self.limit {
            self.history.next_before = self.last;
            return;
        }
        self.last = from_column(row.tool.revision).ok();
        // As with the tools: one row of a newer version must not take the others away.
        let StoredRevision { tool, action, actor } = row;
        self.history
            .revisions
            .extend(readable(vec![tool]).pop().map(|record| Past {
                revision: record.revision,
                action,
                content_hash: record.content_hash,
                actor,
                created_at: record.created_at,
                runs_on: record.spec.runs_on,
                code_bytes: record.spec.code.len(),
            }));
    }

    pub(super) fn finish(self) -> History {
        self.history
    }
}

/// A bound from outside: no revision is above what a column can hold.
pub(super) fn clamped(revision: Option<Revision>) -> Option<i64> {
    revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX))
}

pub(super) fn spec_json(spec: &ToolSpec) -> Result<String, RegistryError> {
    serde_json::to_string(spec).map_err(|error| unavailable("write the spec as JSON", &error))
}

pub(super) fn settings_json(settings: &TenantSettings) -> Result<String, RegistryError> {
    serde_json::to_string(settings).map_err(|error| unavailable("write the settings as JSON", &error))
}

/// A row of `tenants`: revision and settings. What can't be read is an error, since to pass over a limit would lift it.
pub(super) fn tenant_record(row: Option<(i64, String)>) -> Result<TenantRecord, RegistryError> {
    let Some((revision, settings)) = row else {
        return Ok(TenantRecord::default());
    };
    Ok(TenantRecord {
        revision: from_column(revision).map_err(|error| unavailable("read a tenant's revision", &error))?,
        settings: serde_json::from_str(&settings)
            .map_err(|error| unavailable("read a tenant's settings", &error))?,
    })
}

pub(super) fn to_column(revision: Revision) -> Result<i64, RegistryError> {
    i64::try_from(revision).map_err(|error| unavailable("store the revision", &error))
}

pub(super) fn from_column(revision: i64) -> Result<Revision, std::num::TryFromIntError> {
    Revision::try_from(revision)
}

/// The store failed at this step.
pub(super) fn unavailable(step: &str, error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable {
        detail: format!("{step}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::job::Runtime;

    use super::*;
    use crate::registry::RuntimeChoice;

    #[test]
    fn a_tool_from_before_there_were_runtimes_is_one_for_node_and_keeps_its_hash() {
        let spec = r#"{"name":"old","description":"d","code":"return 1","image":"node:lts-slim","timeoutMs":30000,
            "dependencies":[],"isolation":"call","enabled":true}"#;
        let row = StoredTool {
            name: "old".to_owned(),
            revision: 1,
            content_hash: "e0e255df63ce5cce21a135649c7f0ca1c4ad49fbf4b6587cbb0f6fab1d018055".to_owned(),
            spec: spec.to_owned(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        };
        let record = row.into_record().unwrap();
        assert_eq!(
            (record.spec.runtime, record.spec.runs_on),
            (RuntimeChoice::Node, Runtime::Node)
        );
        assert_eq!(record.spec.content_hash(), record.content_hash);
    }
}
