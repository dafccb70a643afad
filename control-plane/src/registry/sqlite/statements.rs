//! The SQL of the SQLite store. Times are milliseconds since the Unix epoch.

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::ids::TenantId;
use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteQueryResult, SqliteRow};
use sqlx::{Row, SqliteConnection};

use crate::registry::row::{
    self, HistoryPage, StoredRevision, StoredTool, spec_json, to_column, unavailable,
};
use crate::registry::write::{NewRevision, NewSettings, Statements};
use crate::registry::{History, Holdings, RegistryError, Revision, ToolName, ToolRecord};
use crate::tenant::TenantRecord;

pub(super) async fn load(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Holdings, RegistryError> {
    let record = settings(&mut *connection, tenant).await?;
    let rows = sqlx::query(
        "SELECT name, revision, content_hash, spec, created_at, updated_at
         FROM tools WHERE tenant_id = ?1 ORDER BY name",
    )
    .bind(tenant.as_str())
    .try_map(stored)
    .fetch_all(connection)
    .await
    .map_err(|error| unavailable("load the tools", &error))?;
    Ok(Holdings {
        tools: row::readable(rows),
        tenant: record,
    })
}

pub(super) async fn settings(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<TenantRecord, RegistryError> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT revision, settings FROM tenants WHERE tenant_id = ?1")
            .bind(tenant.as_str())
            .fetch_optional(connection)
            .await
            .map_err(|error| unavailable("read a tenant's settings", &error))?;
    row::tenant_record(row)
}

pub(super) async fn set_tenant(
    connection: &mut SqliteConnection,
    command: &NewSettings,
    now: DateTime<Utc>,
) -> Result<TenantRecord, RegistryError> {
    let was = settings(&mut *connection, &command.tenant).await?;
    let record = command.over(&was)?;
    let result = sqlx::query(
        "INSERT INTO tenants (tenant_id, revision, settings, actor, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id) DO UPDATE
         SET revision = excluded.revision, settings = excluded.settings, actor = excluded.actor,
             updated_at = excluded.updated_at",
    )
    .bind(command.tenant.as_str())
    .bind(to_column(record.revision)?)
    .bind(row::settings_json(&record.settings)?)
    .bind(&command.actor)
    .bind(now.timestamp_millis())
    .execute(connection)
    .await;
    one_row("store a tenant's settings", result)?;
    Ok(record)
}

pub(super) async fn get(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    name: &ToolName,
) -> Result<Option<ToolRecord>, RegistryError> {
    sqlx::query(
        "SELECT name, revision, content_hash, spec, created_at, updated_at
         FROM tools WHERE tenant_id = ?1 AND name = ?2",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .try_map(stored)
    .fetch_optional(connection)
    .await
    .map_err(|error| unavailable("read a tool", &error))?
    .map(StoredTool::into_record)
    .transpose()
}

pub(super) async fn history(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    name: &ToolName,
    before: Option<Revision>,
    limit: u32,
) -> Result<History, RegistryError> {
    let failed = |error| unavailable("read a tool's history", &error);
    let mut page = HistoryPage::new(limit);
    let mut rows = sqlx::query(
        "SELECT name, revision, content_hash, spec, created_at, created_at AS updated_at, action, actor
         FROM tool_revisions WHERE tenant_id = ?1 AND name = ?2 AND (?3 IS NULL OR revision < ?3)
         ORDER BY revision DESC LIMIT ?4",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(row::clamped(before))
    .bind(page.rows())
    .try_map(|row: SqliteRow| {
        Ok(StoredRevision {
            action: row.try_get("action")?,
            actor: row.try_get("actor")?,
            tool: stored(row)?,
        })
    })
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        page.add(row);
    }
    Ok(page.finish())
}

pub(super) async fn revision(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
) -> Result<Option<ToolRecord>, RegistryError> {
    let found = sqlx::query(
        "SELECT name, revision, content_hash, spec, created_at, created_at AS updated_at
         FROM tool_revisions WHERE tenant_id = ?1 AND name = ?2 AND revision = ?3",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(row::clamped(Some(revision)))
    .try_map(stored)
    .fetch_optional(connection)
    .await
    .map_err(|error| unavailable("read a revision", &error))?;
    found.map(StoredTool::into_record).transpose()
}

fn stored(row: SqliteRow) -> Result<StoredTool, sqlx::Error> {
    Ok(StoredTool {
        name: row.try_get("name")?,
        revision: row.try_get("revision")?,
        content_hash: row.try_get("content_hash")?,
        spec: row.try_get("spec")?,
        created_at: time(row.try_get("created_at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

fn time(millis: i64) -> Result<DateTime<Utc>, sqlx::Error> {
    DateTime::from_timestamp_millis(millis)
        .ok_or_else(|| sqlx::Error::Decode(format!("{millis} is not a time").into()))
}

/// The statements of one tenant inside a transaction.
pub(in crate::registry) struct SqliteStatements<'a> {
    pub(in crate::registry) connection: &'a mut SqliteConnection,
    pub(in crate::registry) tenant: &'a TenantId,
}

impl Statements for SqliteStatements<'_> {
    async fn current(&mut self, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError> {
        get(self.connection, self.tenant, name).await
    }

    async fn count(&mut self) -> Result<usize, RegistryError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tools WHERE tenant_id = ?1")
            .bind(self.tenant.as_str())
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| unavailable("count the tools", &error))?;
        usize::try_from(count).map_err(|error| unavailable("count the tools", &error))
    }

    async fn last_revision(&mut self, name: &ToolName) -> Result<Revision, RegistryError> {
        let last: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(revision), 0) FROM tool_revisions WHERE tenant_id = ?1 AND name = ?2",
        )
        .bind(self.tenant.as_str())
        .bind(name.as_str())
        .fetch_one(&mut *self.connection)
        .await
        .map_err(|error| unavailable("read the last revision", &error))?;
        row::from_column(last).map_err(|error| unavailable("read the last revision", &error))
    }

    async fn append(&mut self, new: NewRevision<'_>) -> Result<(), RegistryError> {
        let result = sqlx::query(
            "INSERT INTO tool_revisions
                (tenant_id, name, revision, action, content_hash, spec, actor, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(self.tenant.as_str())
        .bind(new.spec.name.as_str())
        .bind(to_column(new.revision)?)
        .bind(new.action.as_str())
        .bind(new.content_hash.as_str())
        .bind(spec_json(new.spec)?)
        .bind(new.actor)
        .bind(new.created_at.timestamp_millis())
        .execute(&mut *self.connection)
        .await;
        one_row("append a revision", result)
    }

    async fn insert(&mut self, record: &ToolRecord) -> Result<(), RegistryError> {
        let result = sqlx::query(
            "INSERT INTO tools (tenant_id, name, revision, content_hash, spec, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(self.tenant.as_str())
        .bind(record.spec.name.as_str())
        .bind(to_column(record.revision)?)
        .bind(record.content_hash.as_str())
        .bind(spec_json(&record.spec)?)
        .bind(record.created_at.timestamp_millis())
        .bind(record.updated_at.timestamp_millis())
        .execute(&mut *self.connection)
        .await;
        one_row("insert a tool", result)
    }

    async fn replace(&mut self, record: &ToolRecord, was: Revision) -> Result<(), RegistryError> {
        let result = sqlx::query(
            "UPDATE tools SET revision = ?4, content_hash = ?5, spec = ?6, updated_at = ?7
             WHERE tenant_id = ?1 AND name = ?2 AND revision = ?3",
        )
        .bind(self.tenant.as_str())
        .bind(record.spec.name.as_str())
        .bind(to_column(was)?)
        .bind(to_column(record.revision)?)
        .bind(record.content_hash.as_str())
        .bind(spec_json(&record.spec)?)
        .bind(record.updated_at.timestamp_millis())
        .execute(&mut *self.connection)
        .await;
        one_row("replace a tool", result)
    }

    async fn remove(&mut self, name: &ToolName, was: Revision) -> Result<(), RegistryError> {
        let result = sqlx::query("DELETE FROM tools WHERE tenant_id = ?1 AND name = ?2 AND revision = ?3")
            .bind(self.tenant.as_str())
            .bind(name.as_str())
            .bind(to_column(was)?)
            .execute(&mut *self.connection)
            .await;
        one_row("remove a tool", result)
    }
}

fn one_row(step: &str, result: Result<SqliteQueryResult, sqlx::Error>) -> Result<(), RegistryError> {
    match result.map_err(|error| unavailable(step, &error))?.rows_affected() {
        1 => Ok(()),
        other => Err(unavailable(
            step,
            &format!("{other} rows were affected instead of one"),
        )),
    }
}
