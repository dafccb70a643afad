//! The registry of one machine: a SQLite file that several processes may share.
//!
//! There is one connection: SQLite takes one writer at a time anyway, and the hot path reads the cache. It must not
//! be replaced while the process runs, because `PRAGMA data_version` counts the commits of all *other* connections
//! since this one was opened; that is how a write of another process is noticed.

mod open;
mod statements;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use tokio::sync::{Mutex, MutexGuard, broadcast};
use tokio::time::timeout;

pub(super) use self::statements::SqliteStatements;
use super::row::unavailable;
use super::write::{self, Command, NewSettings, Write};
use super::{
    CHANGES_KEPT, Change, History, Holdings, OpenError, Registry, RegistryError, Revision, ToolName,
    ToolRecord, ToolSpec,
};
use crate::tenant::{TenantRecord, TenantSettings};

const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an operation waits for the operations before it.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

pub struct SqliteRegistry {
    store: Arc<Store>,
    lifecycle: Lifecycle,
}

struct Store {
    /// `None` once closed.
    connection: Mutex<Option<SqliteConnection>>,
    clock: Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
}

impl SqliteRegistry {
    /// Opens the store, made and migrated if needed. If `path` is a JSON store of the Node.js version, its tools are
    /// imported into the SQLite file beside it: see [`super::import`].
    ///
    /// # Errors
    /// When the file can't be used, or a JSON store can't be imported whole.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>, lifecycle: Lifecycle) -> Result<Self, OpenError> {
        let connection = open::open(path, &*clock).await?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let store = Arc::new(Store {
            connection: Mutex::new(Some(connection)),
            clock,
            changes,
        });
        let stop = lifecycle.soft().clone();
        let poll = store.clone();
        // Read before anybody loads tools, so that no write falls between the two.
        let seen = store.data_version().await.ok();
        lifecycle.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = poll.watch_other_processes(seen) => {}
            }
        });
        Ok(Self { store, lifecycle })
    }

    async fn write(&self, tenant: &TenantId, actor: &str, write: Write) -> Result<ToolRecord, RegistryError> {
        let store = self.store.clone();
        let command = Command::new(tenant, actor, write);
        self.to_its_end(async move { store.write(&command).await }).await
    }

    /// A write that was begun ends, and is told, even if its caller goes away meanwhile.
    async fn to_its_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let written = self.lifecycle.spawn(write);
        written
            .await
            .map_err(|error| unavailable("wait for the write", &error))?
    }
}

impl Store {
    async fn turn(&self) -> Result<Turn<'_>, RegistryError> {
        let guard = timeout(TURN_TIMEOUT, self.connection.lock())
            .await
            .map_err(|_| unavailable("wait for a turn", &"other operations take too long"))?;
        Turn::new(guard)
    }

    async fn write(&self, command: &Command) -> Result<ToolRecord, RegistryError> {
        let mut turn = self.turn().await?;
        let mut transaction = begin_write(turn.connection()?).await?;
        let mut statements = SqliteStatements {
            connection: &mut transaction,
            tenant: &command.tenant,
        };
        let record = write::apply(&mut statements, command, self.clock.now()).await?;
        self.commit_write(transaction, &command.tenant).await?;
        Ok(record)
    }

    async fn set_tenant(&self, command: &NewSettings) -> Result<TenantRecord, RegistryError> {
        let mut turn = self.turn().await?;
        let mut transaction = begin_write(turn.connection()?).await?;
        let record = statements::set_tenant(&mut transaction, command, self.clock.now()).await?;
        self.commit_write(transaction, &command.tenant).await?;
        Ok(record)
    }

    async fn commit_write(
        &self,
        transaction: Transaction<'_, Sqlite>,
        tenant: &TenantId,
    ) -> Result<(), RegistryError> {
        transaction
            .commit()
            .await
            .map_err(|error| unavailable("commit a write", &error))?;
        // No receiver is no fault.
        let _ = self.changes.send(Change::Tenant(tenant.clone()));
        Ok(())
    }

    async fn watch_other_processes(&self, mut last: Option<i64>) {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.data_version().await {
                Ok(version) => {
                    if last.is_some_and(|last| last != version) {
                        let _ = self.changes.send(Change::Unknown);
                    }
                    last = Some(version);
                }
                Err(error) => tracing::debug!(?error, "could not look for writes of other processes"),
            }
        }
    }

    async fn data_version(&self) -> Result<i64, RegistryError> {
        let mut turn = self.turn().await?;
        sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(turn.connection()?)
            .await
            .map_err(|error| unavailable("read the data version", &error))
    }
}

/// IMMEDIATE: a transaction that reads first and then wants to write would fail, not wait, if another process wrote in
/// between.
async fn begin_write(connection: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, RegistryError> {
    connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(|error| unavailable("begin a write", &error))
}

/// The connection, for one operation.
struct Turn<'a>(MutexGuard<'a, Option<SqliteConnection>>);

impl<'a> Turn<'a> {
    fn new(guard: MutexGuard<'a, Option<SqliteConnection>>) -> Result<Self, RegistryError> {
        if guard.is_some() {
            Ok(Self(guard))
        } else {
            Err(closed())
        }
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, RegistryError> {
        self.0.as_mut().ok_or_else(closed)
    }
}

fn closed() -> RegistryError {
    unavailable("use the store", &"it is closed")
}

#[async_trait]
impl Registry for SqliteRegistry {
    async fn load(&self, tenant: &TenantId) -> Result<Holdings, RegistryError> {
        let mut turn = self.store.turn().await?;
        statements::load(turn.connection()?, tenant).await
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<TenantRecord, RegistryError> {
        let mut turn = self.store.turn().await?;
        statements::settings(turn.connection()?, tenant).await
    }

    async fn set_tenant(
        &self,
        tenant: &TenantId,
        settings: &TenantSettings,
        expected: u64,
        actor: &str,
    ) -> Result<TenantRecord, RegistryError> {
        let store = self.store.clone();
        let command = NewSettings::new(tenant, actor, settings, expected);
        self.to_its_end(async move { store.set_tenant(&command).await })
            .await
    }

    async fn get(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError> {
        let mut turn = self.store.turn().await?;
        statements::get(turn.connection()?, tenant, name).await
    }

    async fn history(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, RegistryError> {
        let mut turn = self.store.turn().await?;
        statements::history(turn.connection()?, tenant, name, before, limit).await
    }

    async fn revision(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<ToolRecord>, RegistryError> {
        let mut turn = self.store.turn().await?;
        statements::revision(turn.connection()?, tenant, name, revision).await
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
        self.store.changes.subscribe()
    }

    async fn check(&self) -> Result<(), RegistryError> {
        self.store.data_version().await.map(drop)
    }

    async fn close(&self) {
        // Closing the last connection folds the write-ahead log into the file.
        if let Some(connection) = self.store.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(error = %error, "the tool store did not close cleanly");
        }
    }
}
