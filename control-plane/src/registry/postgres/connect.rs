//! Start-up: many replicas may come up at once, and before the database does.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use dynamic_mcp_shared::clock::Clock;
use secrecy::ExposeSecret;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::config::{PostgresConfig, check_schema_name};
use super::migrate::{is_not_allowed, migrate};
use super::{DEADLINE, Shared, listen, statements};
use crate::postgres_pool;
use crate::registry::{OpenError, RegistryError};

const MAX_CONNECTIONS: u32 = 8;
const MAX_BACKOFF: Duration = Duration::from_secs(30);

pub(super) enum Failure {
    /// The database may come up yet.
    Connect(sqlx::Error),
    Migrate(MigrateError),
    /// The schema is to be made or changed, and this role may not.
    NotOwner(sqlx::Error),
    Timeout,
    Registry(RegistryError),
}

pub(super) async fn connect(
    config: &PostgresConfig,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(Shared, PgListener), OpenError> {
    check_schema_name(&config.schema)?;
    let options = options(config)?;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(config.init_backoff)
        .with_max_delay(MAX_BACKOFF.max(config.init_backoff))
        .with_factor(2.0)
        .with_max_times(usize::try_from(config.init_max_attempts.saturating_sub(1)).unwrap_or(usize::MAX));
    let attempt = || start(&options, &config.schema, clock.clone(), stop.clone());
    let attempts = attempt
        .retry(backoff)
        .when(|failure| !matches!(failure, Failure::Migrate(_) | Failure::NotOwner(_)))
        .notify(|failure, pause| {
            let (error, pause_ms) = (failure.to_string(), pause.as_millis());
            tracing::warn!(error, pause_ms, "Postgres is not reachable yet; trying again");
        });
    tokio::select! {
        () = stop.cancelled() => Err(OpenError::Stopped),
        started = attempts => started.map_err(|failure| failure.into_error(config.init_max_attempts.max(1))),
    }
}

/// The text of a URL's fault could hold a part of it, the password included, so it isn't passed on.
pub(super) fn options(config: &PostgresConfig) -> Result<PgConnectOptions, OpenError> {
    let options =
        PgConnectOptions::from_str(config.url.expose_secret()).map_err(|_| OpenError::PostgresUrl)?;
    Ok(options
        .application_name("dynamic-mcp")
        .options([("search_path", config.schema.as_str())])
        .disable_statement_logging())
}

async fn start(
    options: &PgConnectOptions,
    schema: &str,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(Shared, PgListener), Failure> {
    let mut connection = migrate(options, schema).await?;
    warn_of_a_bypass(&mut connection).await?;
    connection.close().await.map_err(Failure::Connect)?;
    // An operation whose deadline passed must not go on for long on the server.
    let bounded = options.clone().options([
        ("statement_timeout", "5000"),
        ("lock_timeout", "1000"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    let pool = postgres_pool::options()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(DEADLINE)
        .connect_lazy_with(bounded);
    // Listens before it reads the versions, so that no change falls between the two.
    let listener = listen::listen(options.clone(), schema)
        .await
        .map_err(Failure::Connect)?;
    let mut connection = pool.acquire().await.map_err(Failure::Connect)?;
    let versions = statements::versions(&mut connection, None)
        .await
        .map_err(Failure::Registry)?
        .unwrap_or_default();
    drop(connection);
    let shared = Shared {
        pool,
        options: options.clone(),
        channel: schema.to_owned(),
        clock,
        changes: Changes::new(versions),
        listener_is_deaf: Notify::new(),
        stop,
    };
    Ok((shared, listener))
}

async fn warn_of_a_bypass(connection: &mut PgConnection) -> Result<(), Failure> {
    let bypasses: bool = sqlx::query_scalar(
        "SELECT coalesce(bool_or(rolsuper OR rolbypassrls), false)
         FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )
    .fetch_one(connection)
    .await
    .map_err(Failure::Connect)?;
    if bypasses {
        tracing::warn!(
            "this Postgres role bypasses row-level security: tenants are kept apart by the queries alone; \
             use a role without SUPERUSER and BYPASSRLS"
        );
    }
    Ok(())
}

impl Failure {
    pub(super) fn of_migration(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => Self::of_rights(error),
            other => Failure::Migrate(other),
        }
    }

    pub(super) fn of_rights(error: sqlx::Error) -> Self {
        if is_not_allowed(&error) {
            Failure::NotOwner(error)
        } else {
            Failure::Connect(error)
        }
    }

    pub(super) fn into_error(self, attempts: u32) -> OpenError {
        let source: Box<dyn std::error::Error + Send + Sync> = match self {
            Failure::Migrate(error) => return OpenError::Migrate(error.into()),
            Failure::NotOwner(error) => return OpenError::NotMigrated(error.into()),
            Failure::Connect(error) => error.into(),
            Failure::Timeout => "no answer in time".into(),
            Failure::Registry(error) => error.to_string().into(),
        };
        OpenError::Postgres { attempts, source }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Connect(error) | Failure::NotOwner(error) => error.fmt(f),
            Failure::Migrate(error) => error.fmt(f),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::Registry(error) => error.fmt(f),
        }
    }
}
