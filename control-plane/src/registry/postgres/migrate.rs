//! Brings the schema up to date. A replica whose role may not do that finds it done, by an owner's `dynamic-mcp migrate`.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;

use super::connect::Failure;
use crate::registry::migrations;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Other replicas may be migrating, and this one waits for its turn.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(120);
/// Postgres' `insufficient_privilege`.
const NOT_ALLOWED: &str = "42501";

/// On a connection of its own, so that the session's lock goes with it however this ends.
pub(super) async fn migrate(options: &PgConnectOptions, schema: &str) -> Result<PgConnection, Failure> {
    let mut connection = timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_| Failure::Timeout)?
        .map_err(Failure::Connect)?;
    let mut migrations = migrations::postgres();
    if is_done(&mut connection, &migrations).await? {
        return Ok(connection);
    }
    // A replica of the version before, restarted during a rolling update, finds migrations that it doesn't know.
    migrations.set_ignore_missing(true);
    // Asking for a schema that exists would need the right to make one all the same.
    if !schema_exists(&mut connection, schema).await? {
        migrations.create_schema(schema.to_owned());
    }
    timeout(
        MIGRATE_TIMEOUT,
        migrations.run_direct(None, &mut connection, false),
    )
    .await
    .map_err(|_| Failure::Timeout)?
    .map_err(Failure::of_migration)?;
    Ok(connection)
}

/// Whether each migration of this version was applied as it is. Asked first, because even to look whether there is
/// anything to do, the migrator needs the right to make tables.
async fn is_done(connection: &mut PgConnection, migrations: &Migrator) -> Result<bool, Failure> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(Failure::Connect)?;
    if !exists {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(connection)
            .await
            .map_err(Failure::of_rights)?;
    Ok(migrations.iter().all(|migration| {
        let is_it = |(version, checksum): &(i64, Vec<u8>)| {
            *version == migration.version && **checksum == *migration.checksum
        };
        applied.iter().any(is_it)
    }))
}

async fn schema_exists(connection: &mut PgConnection, schema: &str) -> Result<bool, Failure> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .fetch_one(connection)
        .await
        .map_err(Failure::Connect)
}

/// Whether it is that the role may not.
pub(super) fn is_not_allowed(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == NOT_ALLOWED)
}
