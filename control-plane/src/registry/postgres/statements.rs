//! The SQL of the Postgres store. Each operation on a tenant's tools, reads included, is a transaction that names the
//! tenant for row-level security; the `WHERE` clauses name it again, because a superuser bypasses that.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::ids::TenantId;
use futures::TryStreamExt as _;
use sqlx::postgres::{PgQueryResult, PgRow};
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};

use super::listen;
use crate::registry::row::{
    self, HistoryPage, StoredRevision, StoredTool, spec_json, to_column, unavailable,
};
use crate::registry::write::{self, Command, NewRevision, NewSettings, Statements};
use crate::registry::{History, Holdings, RegistryError, Revision, ToolName, ToolRecord};
use crate::tenant::TenantRecord;

pub(super) struct Written<T> {
    pub(super) record: T,
    /// The tenant's version with this write.
    pub(super) version: i64,
}

/// How many writes each tenant has seen.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) sum: i64,
    pub(super) by_tenant: HashMap<TenantId, i64>,
}

pub(super) async fn load(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Holdings, RegistryError> {
    let mut transaction = begin(connection, tenant).await?;
    let record = settings(&mut transaction, tenant).await?;
    let rows = sqlx::query(
        "SELECT name, revision, content_hash, spec::text AS spec, created_at, updated_at
         FROM tools WHERE tenant_id = $1 ORDER BY name",
    )
    .bind(tenant.as_str())
    .try_map(stored)
    .fetch_all(&mut *transaction)
    .await
    .map_err(|error| unavailable("load the tools", &error))?;
    commit(transaction).await?;
    Ok(Holdings {
        tools: row::readable(rows),
        tenant: record,
    })
}

pub(super) async fn tenant(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<TenantRecord, RegistryError> {
    let mut transaction = begin(connection, tenant).await?;
    let record = settings(&mut transaction, tenant).await?;
    commit(transaction).await?;
    Ok(record)
}

pub(super) async fn get(
    connection: &mut PgConnection,
    tenant: &TenantId,
    name: &ToolName,
) -> Result<Option<ToolRecord>, RegistryError> {
    let mut transaction = begin(connection, tenant).await?;
    let record = current(&mut transaction, tenant, name).await?;
    commit(transaction).await?;
    Ok(record)
}

pub(super) async fn history(
    connection: &mut PgConnection,
    tenant: &TenantId,
    name: &ToolName,
    before: Option<Revision>,
    limit: u32,
) -> Result<History, RegistryError> {
    let failed = |error| unavailable("read a tool's history", &error);
    let mut page = HistoryPage::new(limit);
    let mut transaction = begin(connection, tenant).await?;
    let mut rows = sqlx::query(
        "SELECT name, revision, content_hash, spec::text AS spec, created_at, created_at AS updated_at, action, actor
         FROM tool_revisions WHERE tenant_id = $1 AND name = $2 AND ($3::bigint IS NULL OR revision < $3)
         ORDER BY revision DESC LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(row::clamped(before))
    .bind(page.rows())
    .try_map(|row: PgRow| {
        Ok(StoredRevision {
            action: row.try_get("action")?,
            actor: row.try_get("actor")?,
            tool: stored(row)?,
        })
    })
    .fetch(&mut *transaction);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        page.add(row);
    }
    drop(rows);
    commit(transaction).await?;
    Ok(page.finish())
}

pub(super) async fn revision(
    connection: &mut PgConnection,
    tenant: &TenantId,
    name: &ToolName,
    revision: Revision,
) -> Result<Option<ToolRecord>, RegistryError> {
    let mut transaction = begin(connection, tenant).await?;
    let found = sqlx::query(
        "SELECT name, revision, content_hash, spec::text AS spec, created_at, created_at AS updated_at
         FROM tool_revisions WHERE tenant_id = $1 AND name = $2 AND revision = $3",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(row::clamped(Some(revision)))
    .try_map(stored)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|error| unavailable("read a revision", &error))?;
    commit(transaction).await?;
    found.map(StoredTool::into_record).transpose()
}

pub(super) async fn write(
    connection: &mut PgConnection,
    command: &Command,
    channel: &str,
    now: DateTime<Utc>,
) -> Result<Written<ToolRecord>, RegistryError> {
    let tenant = &command.tenant;
    let (mut transaction, version) = begin_write(connection, tenant).await?;
    let mut statements = PgStatements {
        connection: &mut transaction,
        tenant,
    };
    let record = write::apply(&mut statements, command, now).await?;
    commit_write(transaction, tenant, version, channel).await?;
    Ok(Written { record, version })
}

pub(super) async fn set_tenant(
    connection: &mut PgConnection,
    command: &NewSettings,
    channel: &str,
    now: DateTime<Utc>,
) -> Result<Written<TenantRecord>, RegistryError> {
    let tenant = &command.tenant;
    let (mut transaction, version) = begin_write(connection, tenant).await?;
    let was = settings(&mut transaction, tenant).await?;
    let record = command.over(&was)?;
    let result = sqlx::query(
        "INSERT INTO tenants (tenant_id, revision, settings, actor, updated_at)
         VALUES ($1, $2, $3::text::json, $4, $5)
         ON CONFLICT (tenant_id) DO UPDATE
         SET revision = excluded.revision, settings = excluded.settings, actor = excluded.actor,
             updated_at = excluded.updated_at",
    )
    .bind(tenant.as_str())
    .bind(to_column(record.revision)?)
    .bind(row::settings_json(&record.settings)?)
    .bind(&command.actor)
    .bind(now)
    .execute(&mut *transaction)
    .await;
    one_row("store a tenant's settings", result)?;
    commit_write(transaction, tenant, version, channel).await?;
    Ok(Written { record, version })
}

async fn settings(connection: &mut PgConnection, tenant: &TenantId) -> Result<TenantRecord, RegistryError> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT revision, settings::text FROM tenants WHERE tenant_id = $1")
            .bind(tenant.as_str())
            .fetch_optional(connection)
            .await
            .map_err(|error| unavailable("read a tenant's settings", &error))?;
    row::tenant_record(row)
}

pub(super) async fn check(connection: &mut PgConnection) -> Result<(), RegistryError> {
    let answer: i32 = sqlx::query_scalar("SELECT 1")
        .fetch_one(connection)
        .await
        .map_err(|error| unavailable("ask Postgres", &error))?;
    debug_assert_eq!(answer, 1);
    Ok(())
}

/// `None` if they sum up to `known_sum`: a version only goes up, so then none has changed.
pub(super) async fn versions(
    connection: &mut PgConnection,
    known_sum: Option<i64>,
) -> Result<Option<Versions>, RegistryError> {
    let failed = |error| unavailable("read the versions", &error);
    let sum: i64 = sqlx::query_scalar("SELECT coalesce(sum(version), 0)::bigint FROM registry_versions")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if known_sum == Some(sum) {
        return Ok(None);
    }
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT tenant_id, version FROM registry_versions")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let by_tenant = rows
        .into_iter()
        .filter_map(|(tenant, version)| Some((TenantId::from_store(&tenant).ok()?, version)));
    Ok(Some(Versions {
        sum,
        by_tenant: by_tenant.collect(),
    }))
}

async fn begin<'c>(
    connection: &'c mut PgConnection,
    tenant: &TenantId,
) -> Result<Transaction<'c, Postgres>, RegistryError> {
    let failed = |error| unavailable("begin a transaction", &error);
    let mut transaction = connection.begin().await.map_err(failed)?;
    // `true`: for this transaction only. Not `SET LOCAL`, which takes no parameters.
    sqlx::query("SELECT set_config('app.tenant', $1, true)")
        .bind(tenant.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    Ok(transaction)
}

/// With the tenant's next version, whose row is locked until the end of the transaction.
async fn begin_write<'c>(
    connection: &'c mut PgConnection,
    tenant: &TenantId,
) -> Result<(Transaction<'c, Postgres>, i64), RegistryError> {
    let mut transaction = begin(connection, tenant).await?;
    let version = next_version(&mut transaction, tenant).await?;
    Ok((transaction, version))
}

async fn commit_write(
    mut transaction: Transaction<'_, Postgres>,
    tenant: &TenantId,
    version: i64,
    channel: &str,
) -> Result<(), RegistryError> {
    // Sent to the listeners by the commit, in the order of commits.
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(channel)
        .bind(listen::payload(tenant, version))
        .execute(&mut *transaction)
        .await
        .map_err(|error| unavailable("notify the replicas", &error))?;
    commit(transaction).await
}

async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), RegistryError> {
    transaction
        .commit()
        .await
        .map_err(|error| unavailable("commit", &error))
}

/// Locks the tenant's row until the end of the transaction, so that the writes of a tenant take turns and what they
/// read after this, the number of tools included, stays true.
async fn next_version(connection: &mut PgConnection, tenant: &TenantId) -> Result<i64, RegistryError> {
    sqlx::query_scalar(
        "INSERT INTO registry_versions AS v (tenant_id, version) VALUES ($1, 1)
         ON CONFLICT (tenant_id) DO UPDATE SET version = v.version + 1
         RETURNING version",
    )
    .bind(tenant.as_str())
    .fetch_one(connection)
    .await
    .map_err(|error| unavailable("lock the tenant", &error))
}

async fn current(
    connection: &mut PgConnection,
    tenant: &TenantId,
    name: &ToolName,
) -> Result<Option<ToolRecord>, RegistryError> {
    sqlx::query(
        "SELECT name, revision, content_hash, spec::text AS spec, created_at, updated_at
         FROM tools WHERE tenant_id = $1 AND name = $2",
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

fn stored(row: PgRow) -> Result<StoredTool, sqlx::Error> {
    Ok(StoredTool {
        name: row.try_get("name")?,
        revision: row.try_get("revision")?,
        content_hash: row.try_get("content_hash")?,
        spec: row.try_get("spec")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

struct PgStatements<'a> {
    connection: &'a mut PgConnection,
    tenant: &'a TenantId,
}

impl Statements for PgStatements<'_> {
    async fn current(&mut self, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError> {
        current(self.connection, self.tenant, name).await
    }

    async fn count(&mut self) -> Result<usize, RegistryError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tools WHERE tenant_id = $1")
            .bind(self.tenant.as_str())
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| unavailable("count the tools", &error))?;
        usize::try_from(count).map_err(|error| unavailable("count the tools", &error))
    }

    async fn last_revision(&mut self, name: &ToolName) -> Result<Revision, RegistryError> {
        let last: i64 = sqlx::query_scalar(
            "SELECT coalesce(max(revision), 0) FROM tool_revisions WHERE tenant_id = $1 AND name = $2",
        )
        .bind(self.tenant.as_str())
        .bind(name.as_str())
        .fetch_one(&mut *self.connection)
        .await
        .map_err(|error| unavailable("read the last revision", &error))?;
        row::from_column(last).map_err(|error| unavailable("read the last revision", &error))
    }

    async fn append(&mut self, new: NewRevision<'_>) -> Result<(), RegistryError> {
        // `$6::text::json`: the parameter is text, which the driver sends as it is.
        let result = sqlx::query(
            "INSERT INTO tool_revisions
                (tenant_id, name, revision, action, content_hash, spec, actor, created_at)
             VALUES ($1, $2, $3, $4, $5, $6::text::json, $7, $8)",
        )
        .bind(self.tenant.as_str())
        .bind(new.spec.name.as_str())
        .bind(to_column(new.revision)?)
        .bind(new.action.as_str())
        .bind(new.content_hash.as_str())
        .bind(spec_json(new.spec)?)
        .bind(new.actor)
        .bind(new.created_at)
        .execute(&mut *self.connection)
        .await;
        one_row("append a revision", result)
    }

    async fn insert(&mut self, record: &ToolRecord) -> Result<(), RegistryError> {
        let result = sqlx::query(
            "INSERT INTO tools (tenant_id, name, revision, content_hash, spec, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5::text::json, $6, $7)",
        )
        .bind(self.tenant.as_str())
        .bind(record.spec.name.as_str())
        .bind(to_column(record.revision)?)
        .bind(record.content_hash.as_str())
        .bind(spec_json(&record.spec)?)
        .bind(record.created_at)
        .bind(record.updated_at)
        .execute(&mut *self.connection)
        .await;
        one_row("insert a tool", result)
    }

    async fn replace(&mut self, record: &ToolRecord, was: Revision) -> Result<(), RegistryError> {
        let result = sqlx::query(
            "UPDATE tools SET revision = $4, content_hash = $5, spec = $6::text::json, updated_at = $7
             WHERE tenant_id = $1 AND name = $2 AND revision = $3",
        )
        .bind(self.tenant.as_str())
        .bind(record.spec.name.as_str())
        .bind(to_column(was)?)
        .bind(to_column(record.revision)?)
        .bind(record.content_hash.as_str())
        .bind(spec_json(&record.spec)?)
        .bind(record.updated_at)
        .execute(&mut *self.connection)
        .await;
        one_row("replace a tool", result)
    }

    async fn remove(&mut self, name: &ToolName, was: Revision) -> Result<(), RegistryError> {
        let result = sqlx::query("DELETE FROM tools WHERE tenant_id = $1 AND name = $2 AND revision = $3")
            .bind(self.tenant.as_str())
            .bind(name.as_str())
            .bind(to_column(was)?)
            .execute(&mut *self.connection)
            .await;
        one_row("remove a tool", result)
    }
}

fn one_row(step: &str, result: Result<PgQueryResult, sqlx::Error>) -> Result<(), RegistryError> {
    match result.map_err(|error| unavailable(step, &error))?.rows_affected() {
        1 => Ok(()),
        other => Err(unavailable(
            step,
            &format!("{other} rows were affected instead of one"),
        )),
    }
}
