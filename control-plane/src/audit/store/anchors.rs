//! A small SQLite file of anchors, for where the registry is one too. A file of its own: the registry's takes every
//! foreign write for a change of tools.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::sync::watch;

use super::keeper::Follower;
use super::{Anchor, StoreError, column, number, place};
use crate::audit::files::FILE_MODE;
use crate::audit::queue::Reached;
use crate::audit::record::{Record, StoreKind};
use crate::audit::{Audit, Log};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const NAME: &str = "audit-anchors.sqlite";
const SCHEMA: &str = include_str!("../../../migrations/sqlite/audit_anchors.sql");

#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
    connection: Option<SqliteConnection>,
}

impl AnchorFile {
    /// The one beside that store of tools.
    pub fn beside(store: &Path) -> Self {
        Self {
            path: store.with_file_name(NAME),
            connection: None,
        }
    }

    pub(in crate::audit) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::audit) async fn all(&mut self) -> Result<Vec<Anchor>, StoreError> {
        let read = |row: SqliteRow| {
            let text = |name: &str| row.try_get::<String, _>(name);
            let code = |name: &str| {
                text(name)?
                    .parse()
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))
            };
            Ok(Anchor {
                chain: code("chain")?,
                log: code("log")?,
                place: text("place")?,
                seq: number(row.try_get("seq")?),
                mac: code("mac")?,
                at: row.try_get("at")?,
            })
        };
        sqlx::query("SELECT chain, log, place, seq, mac, at FROM audit_anchors")
            .try_map(read)
            .fetch_all(self.connection().await?)
            .await
            .map_err(StoreError::sql("read"))
    }

    async fn put(&mut self, anchor: &Anchor) -> Result<(), StoreError> {
        let result = sqlx::query(
            "INSERT INTO audit_anchors (chain, log, place, seq, mac, at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (chain) DO UPDATE SET
                 log = excluded.log, place = excluded.place, seq = excluded.seq, mac = excluded.mac, at = excluded.at
             WHERE excluded.seq > seq",
        )
        .bind(anchor.chain.to_string())
        .bind(anchor.log.to_string())
        .bind(&anchor.place)
        .bind(column(anchor.seq))
        .bind(anchor.mac.to_string())
        .bind(anchor.at)
        .execute(self.connection().await?)
        .await;
        if result.is_err() {
            // What is wrong may be the connection itself.
            self.connection = None;
        }
        result.map(drop).map_err(StoreError::sql("write an anchor to"))
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.path).await.map_err(StoreError::sql("open"))?,
        };
        Ok(self.connection.insert(connection))
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(sqlx::Error::Io)?;
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // An anchor that a power cut takes was one second old.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    Ok(connection)
}

/// Puts the head of this process's chain into the file, whenever it has moved.
pub(super) struct Anchoring {
    file: AnchorFile,
    log: Arc<Log>,
    reached: watch::Receiver<Option<Reached>>,
    place: String,
    anchored: u64,
}

impl Anchoring {
    pub(super) fn new(audit: &Audit, file: AnchorFile) -> Option<Self> {
        let log = audit.0.clone()?;
        Some(Self {
            file,
            reached: log.queue.reached(),
            place: place(&log.file),
            log,
            anchored: 0,
        })
    }
}

#[async_trait]
impl Follower for Anchoring {
    async fn round(&mut self) -> Result<bool, StoreError> {
        let reached = *self.reached.borrow_and_update();
        let Some(reached) = reached.filter(|reached| reached.head.seq > self.anchored) else {
            return Ok(false);
        };
        let anchor = Anchor {
            chain: reached.chain,
            log: reached.log,
            place: self.place.clone(),
            seq: reached.head.seq,
            mac: reached.head.mac,
            at: reached.at,
        };
        self.file.put(&anchor).await?;
        if self.anchored == 0 {
            let store = StoreKind::Sqlite;
            self.log
                .queue
                .push_record(&Record::Anchored { store }.to_line(self.log.clock.now()));
        }
        self.anchored = anchor.seq;
        Ok(false)
    }
}
