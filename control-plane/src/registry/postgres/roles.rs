//! Which database role may do what. The owner of the schema changes it, and is needed for nothing else; the service role
//! is what replicas work as, held to one tenant at a time by row-level security; the maintenance role reads across
//! tenants and writes nothing.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::config::{PostgresConfig, check_schema_name};
use super::connect::{self, Failure};
use super::migrate::migrate;
use crate::registry::OpenError;

/// By name; they exist already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    pub service: Option<String>,
    pub maintenance: Option<String>,
}

/// What the service role may do with each table.
const SERVICE: [(&str, &str); 7] = [
    ("_sqlx_migrations", "SELECT"),
    ("tools", "SELECT, INSERT, UPDATE, DELETE"),
    ("tool_revisions", "SELECT, INSERT"),
    ("tenants", "SELECT, INSERT, UPDATE"),
    ("registry_versions", "SELECT, INSERT, UPDATE"),
    ("audit_events", "SELECT, INSERT"),
    ("audit_anchors", "SELECT, INSERT, UPDATE"),
];
/// What it has done by the owner, who alone makes and drops partitions.
const SERVICE_CALLS: [&str; 3] = [
    "audit_make_partitions(timestamptz, integer)",
    "audit_expiring(timestamptz)",
    "audit_expire(timestamptz)",
];
/// What the maintenance role reads, and whether that is kept apart by tenant.
const MAINTENANCE: [(&str, bool); 6] = [
    ("tools", true),
    ("tool_revisions", true),
    ("tenants", true),
    ("registry_versions", false),
    ("audit_events", true),
    ("audit_anchors", false),
];

/// Migrates the schema as its owner and gives the roles what they need. It may be run again.
///
/// # Errors
/// When the database can't be reached, a migration fails, or a role is none that would be held to a tenant.
pub async fn prepare(config: &PostgresConfig, roles: &Roles) -> Result<(), OpenError> {
    check_schema_name(&config.schema)?;
    let options = connect::options(config)?;
    let failed = |failure: Failure| failure.into_error(1);
    let mut connection = migrate(&options, &config.schema).await.map_err(failed)?;
    let granted = grant(&mut connection, &config.schema, roles).await;
    // Nothing of it is in doubt: the grants were committed.
    let _closed = connection.close().await;
    granted
}

async fn grant(connection: &mut PgConnection, schema: &str, roles: &Roles) -> Result<(), OpenError> {
    let unreachable = |error| Failure::Connect(error).into_error(1);
    let mut transaction = connection.begin().await.map_err(unreachable)?;
    if let Some(name) = &roles.service {
        let role = check_role(&mut transaction, name).await?;
        allow_schema(&mut transaction, schema, &role)
            .await
            .map_err(unreachable)?;
        for (table, what) in SERVICE {
            let sql = format!("GRANT {what} ON {table} TO {role}");
            run(&mut transaction, sql).await.map_err(unreachable)?;
        }
        for function in SERVICE_CALLS {
            let sql = format!("GRANT EXECUTE ON FUNCTION {function} TO {role}");
            run(&mut transaction, sql).await.map_err(unreachable)?;
        }
    }
    if let Some(name) = &roles.maintenance {
        let role = check_role(&mut transaction, name).await?;
        allow_schema(&mut transaction, schema, &role)
            .await
            .map_err(unreachable)?;
        for (table, by_tenant) in MAINTENANCE {
            run(&mut transaction, format!("GRANT SELECT ON {table} TO {role}"))
                .await
                .map_err(unreachable)?;
            if by_tenant {
                let policy = format!(
                    "DROP POLICY IF EXISTS {table}_of_all ON {table};
                     CREATE POLICY {table}_of_all ON {table} FOR SELECT TO {role} USING (true)"
                );
                run(&mut transaction, policy).await.map_err(unreachable)?;
            }
        }
    }
    transaction.commit().await.map_err(unreachable)
}

async fn allow_schema(connection: &mut PgConnection, schema: &str, role: &str) -> Result<(), sqlx::Error> {
    run(connection, format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await
}

/// Its name as it may stand in a statement.
async fn check_role(connection: &mut PgConnection, name: &str) -> Result<String, OpenError> {
    let found: Option<(String, bool)> = sqlx::query_as(
        "SELECT quote_ident(rolname),
                rolsuper OR rolbypassrls OR pg_catalog.pg_has_role(oid, current_user, 'MEMBER')
         FROM pg_catalog.pg_roles WHERE rolname = $1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(|error| Failure::Connect(error).into_error(1))?;
    match found {
        None => Err(OpenError::NoRole(name.to_owned())),
        Some((_, true)) => Err(OpenError::RoleAboveTenants(name.to_owned())),
        Some((quoted, false)) => Ok(quoted),
    }
}

/// No part of it comes from outside but what was checked or quoted.
async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
}
