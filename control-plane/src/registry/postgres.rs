//! The registry that replicas share, in one schema of a Postgres database.
//!
//! ```text
//! write ──▶ lock the tenant's row of registry_versions, count it up ──▶ revision, tool ──▶ NOTIFY ──▶ commit
//!                                                                                          │
//! every replica:  listener ◀───────────────────────────────────────────────────────────────┘
//!                 poll: compares registry_versions with what was heard, for notifications that got lost
//! ```
//!
//! Every operation has a deadline. A connection whose operation did not end in time is closed, never reused: the
//! server may still be at work on it.

mod changes;
mod config;
mod connect;
mod listen;
mod migrate;
mod roles;
mod statements;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::changes::Changes;
pub use self::config::PostgresConfig;
pub use self::roles::{Roles, prepare};
use super::row::unavailable;
use super::write::{Command, NewSettings, Write};
use super::{
    Change, History, Holdings, OpenError, Registry, RegistryError, Revision, ToolName, ToolRecord, ToolSpec,
};
use crate::tenant::{TenantRecord, TenantSettings};

/// A lost Postgres is noticed within this.
const DEADLINE: Duration = Duration::from_secs(1);
/// A tenant's tools may be many megabytes; nobody waits for them while older ones are known.
const LOAD_DEADLINE: Duration = Duration::from_secs(5);
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

pub struct PostgresRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    options: PgConnectOptions,
    /// The schema's name, which is the channel's too.
    channel: String,
    clock: Arc<dyn Clock>,
    changes: Changes,
    /// The poll found a change that the listener did not hear of.
    listener_is_deaf: Notify,
    stop: CancellationToken,
}

impl PostgresRegistry {
    /// Connects, with retries, and migrates the schema. On return the registry hears of every change.
    ///
    /// # Errors
    /// When the configuration is not valid, the last attempt failed, or a migration did.
    pub async fn connect(
        config: PostgresConfig,
        clock: Arc<dyn Clock>,
        lifecycle: Lifecycle,
    ) -> Result<Self, OpenError> {
        let stop = lifecycle.soft().child_token();
        let (shared, listener) = connect::connect(&config, clock, stop).await?;
        let shared = Arc::new(shared);
        let stop = &shared.stop;
        lifecycle.spawn(until_stopped(
            stop.clone(),
            listen::follow(shared.clone(), listener),
        ));
        lifecycle.spawn(until_stopped(stop.clone(), listen::poll(shared.clone())));
        Ok(Self { shared })
    }

    async fn write(&self, tenant: &TenantId, actor: &str, write: Write) -> Result<ToolRecord, RegistryError> {
        let command = Command::new(tenant, actor, write);
        let shared = &self.shared;
        let until = Instant::now() + DEADLINE;
        let mut lease = shared.lease(until).await?;
        let now = shared.clock.now();
        let work = statements::write(lease.connection(), &command, &shared.channel, now);
        let ended = in_time(until, work).await?;
        lease.give_back();
        Ok(shared.told(tenant, ended?))
    }
}

async fn until_stopped(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}

impl Shared {
    fn told<T>(&self, tenant: &TenantId, written: statements::Written<T>) -> T {
        self.changes.tell(tenant, written.version);
        written.record
    }

    async fn lease(&self, until: Instant) -> Result<Lease, RegistryError> {
        let connection = in_time(until, self.pool.acquire())
            .await?
            .map_err(|error| unavailable("connect to Postgres", &error))?;
        Ok(Lease {
            connection,
            is_whole: true,
        })
    }

    async fn check(&self) -> Result<(), RegistryError> {
        let until = Instant::now() + DEADLINE;
        let mut lease = self.lease(until).await?;
        let ended = in_time(until, statements::check(lease.connection())).await?;
        lease.give_back();
        ended
    }

    async fn versions(&self, known_sum: Option<i64>) -> Result<Option<statements::Versions>, RegistryError> {
        let until = Instant::now() + LOAD_DEADLINE;
        let mut lease = self.lease(Instant::now() + DEADLINE).await?;
        let ended = in_time(until, statements::versions(lease.connection(), known_sum)).await?;
        lease.give_back();
        ended
    }
}

/// A connection of the pool for one operation, closed unless it is given back: the future of an operation may be
/// dropped half-way, and the server may then be at work on it still.
struct Lease {
    connection: PoolConnection<Postgres>,
    is_whole: bool,
}

impl Lease {
    fn connection(&mut self) -> &mut PgConnection {
        self.is_whole = false;
        &mut self.connection
    }

    fn give_back(mut self) {
        self.is_whole = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_whole {
            self.connection.close_on_drop();
        }
    }
}

async fn in_time<T>(until: Instant, work: impl Future<Output = T>) -> Result<T, RegistryError> {
    timeout_at(until, work)
        .await
        .map_err(|_| unavailable("wait for Postgres", &"no answer in time"))
}

#[async_trait]
impl Registry for PostgresRegistry {
    async fn load(&self, tenant: &TenantId) -> Result<Holdings, RegistryError> {
        let until = Instant::now() + LOAD_DEADLINE;
        let mut lease = self.shared.lease(Instant::now() + DEADLINE).await?;
        let ended = in_time(until, statements::load(lease.connection(), tenant)).await?;
        lease.give_back();
        ended
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<TenantRecord, RegistryError> {
        let until = Instant::now() + DEADLINE;
        let mut lease = self.shared.lease(until).await?;
        let ended = in_time(until, statements::tenant(lease.connection(), tenant)).await?;
        lease.give_back();
        ended
    }

    async fn set_tenant(
        &self,
        tenant: &TenantId,
        settings: &TenantSettings,
        expected: u64,
        actor: &str,
    ) -> Result<TenantRecord, RegistryError> {
        let command = NewSettings::new(tenant, actor, settings, expected);
        let shared = &self.shared;
        let until = Instant::now() + DEADLINE;
        let mut lease = shared.lease(until).await?;
        let now = shared.clock.now();
        let work = statements::set_tenant(lease.connection(), &command, &shared.channel, now);
        let ended = in_time(until, work).await?;
        lease.give_back();
        Ok(shared.told(tenant, ended?))
    }

    async fn get(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError> {
        let until = Instant::now() + DEADLINE;
        let mut lease = self.shared.lease(until).await?;
        let ended = in_time(until, statements::get(lease.connection(), tenant, name)).await?;
        lease.give_back();
        ended
    }

    async fn history(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, RegistryError> {
        // As many as a page has can be as large as all tools.
        let until = Instant::now() + LOAD_DEADLINE;
        let mut lease = self.shared.lease(Instant::now() + DEADLINE).await?;
        let work = statements::history(lease.connection(), tenant, name, before, limit);
        let ended = in_time(until, work).await?;
        lease.give_back();
        ended
    }

    async fn revision(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<ToolRecord>, RegistryError> {
        let until = Instant::now() + DEADLINE;
        let mut lease = self.shared.lease(until).await?;
        let work = statements::revision(lease.connection(), tenant, name, revision);
        let ended = in_time(until, work).await?;
        lease.give_back();
        ended
    }

    async fn create(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        max_tools: usize,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        let spec = spec.clone();
        self.write(tenant, actor, Write::Create { spec, max_tools }).await
    }

    async fn update(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        expected: Revision,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        let spec = spec.clone();
        self.write(tenant, actor, Write::Update { spec, expected }).await
    }

    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        let name = name.clone();
        self.write(tenant, actor, Write::Delete { name, expected }).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    async fn check(&self) -> Result<(), RegistryError> {
        self.shared.check().await
    }

    async fn close(&self) {
        self.shared.stop.cancel();
        if timeout(CLOSE_DEADLINE, self.shared.pool.close()).await.is_err() {
            tracing::warn!("connections to Postgres did not close in time");
        }
    }
}
