//! Sends the lines of the local files to Postgres, from the oldest file on: what the database lacks of earlier runs first,
//! since the files are all the backlog there is. How far it came is what the anchors say, so that nothing is kept beside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::keeper::Follower;
use super::postgres::{NewLine, PostgresAudit};
use super::tail::{Chunk, Tail};
use super::{StoreError, place};
use crate::audit::chain::Hex128;
use crate::audit::record::{FileHead, Gap, Record, StoreKind};
use crate::audit::{Audit, Log};
use crate::metric_names;

/// How often it looks whether months are to be made and dropped.
const CALENDAR_EVERY: Duration = Duration::from_secs(3_600);

pub(super) struct Sender {
    store: PostgresAudit,
    log: Arc<Log>,
    /// `None` while it is being read elsewhere, or after that failed.
    tail: Option<Tail>,
    place: String,
    retention: chrono::Duration,
    /// How far the database has the chains that were met.
    sent: HashMap<Hex128, u64>,
    has_said_so: bool,
    calendar: Option<Instant>,
}

impl Sender {
    pub(super) fn new(audit: &Audit, store: PostgresAudit, retention: chrono::Duration) -> Option<Self> {
        let log = audit.0.clone()?;
        // From now on a file that was not looked at may have lines that were not sent.
        log.backlog.is_reading(0);
        Some(Self {
            store,
            place: place(&log.file),
            log,
            tail: None,
            retention,
            sent: HashMap::new(),
            has_said_so: false,
            calendar: None,
        })
    }

    async fn read(&mut self) -> Result<Chunk, StoreError> {
        let mut tail = self.tail.take().unwrap_or_else(|| Tail::new(&self.log.file));
        let read = spawn_blocking(move || {
            let chunk = tail.read()?;
            Ok((tail, chunk))
        });
        let read: std::io::Result<_> = read.await.map_err(std::io::Error::other).flatten();
        let (tail, chunk) = read.map_err(StoreError::Files)?;
        self.tail = Some(tail);
        Ok(chunk)
    }

    /// Asks for the chains that it has not met before.
    async fn meet(&mut self, chains: impl Iterator<Item = Hex128>) -> Result<(), StoreError> {
        let mut new: Vec<Hex128> = chains.filter(|chain| !self.sent.contains_key(chain)).collect();
        new.sort_unstable();
        new.dedup();
        if !new.is_empty() {
            let heads = self.store.heads(&new).await?;
            let found = |chain: &Hex128| heads.get(chain).copied().unwrap_or_default();
            self.sent.extend(new.iter().map(|chain| (*chain, found(chain))));
        }
        Ok(())
    }

    /// Says in the log what the database will never have.
    async fn tell_skipped(&mut self, head: &FileHead) -> Result<(), StoreError> {
        self.meet(head.heads.keys().copied()).await?;
        let gap = |(&chain, &to): (&Hex128, &u64)| {
            let from = self.sent.get(&chain).copied().unwrap_or_default() + 1;
            (from <= to).then_some(Gap { chain, from, to })
        };
        let gaps: Vec<Gap> = head.heads.iter().filter_map(gap).collect();
        if gaps.is_empty() {
            return Ok(());
        }
        let lines: u64 = gaps.iter().map(|gap| gap.to + 1 - gap.from).sum();
        metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "unsent").increment(lines);
        tracing::error!(
            lines,
            "audit files were rotated away before their lines were in Postgres"
        );
        for gap in &gaps {
            self.sent.insert(gap.chain, gap.to);
        }
        self.write(&Record::Unsent { gaps });
        Ok(())
    }

    async fn send(&mut self, chunk: &mut Chunk) -> Result<(), StoreError> {
        let taken = std::mem::take(&mut chunk.lines);
        let count = taken.len();
        let mut lines: Vec<NewLine> = taken.into_iter().filter_map(NewLine::of).collect();
        let foreign = count - lines.len();
        self.meet(lines.iter().map(|line| line.chain)).await?;
        lines.retain(|line| self.sent.get(&line.chain).is_none_or(|sent| line.seq > *sent));
        if !lines.is_empty() {
            let log = self.log_id();
            self.store.append(&lines, log, &self.place).await?;
            for line in &lines {
                self.sent.insert(line.chain, line.seq);
            }
            if !self.has_said_so && lines.iter().any(|line| line.chain == self.log.chain) {
                let store = StoreKind::Postgres;
                self.write(&Record::Anchored { store });
                self.has_said_so = true;
            }
        }
        if foreign > 0 {
            metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "foreign").increment(foreign as u64);
            tracing::error!(
                lines = foreign,
                "the audit file has lines that no server wrote; dynamic-mcp audit verify shows which"
            );
        }
        Ok(())
    }

    fn log_id(&self) -> Hex128 {
        self.log
            .queue
            .reached()
            .borrow()
            .map(|reached| reached.log)
            .unwrap_or_default()
    }

    async fn keep_to_the_calendar(&mut self) -> Result<(), StoreError> {
        if self.calendar.is_some_and(|last| last.elapsed() < CALENDAR_EVERY) {
            return Ok(());
        }
        let now = self.log.clock.now();
        self.store.make_partitions(now).await?;
        if let Some(expiring) = self.store.expiring(now - self.retention).await? {
            // Said before it is done: what is said to be gone may be there, not the other way round.
            let before = expiring.before;
            let through: BTreeMap<_, _> = expiring.through.into_iter().collect();
            self.write(&Record::Retained { before, through });
            self.log.queue.flush().await;
            let months = self.store.expire(before).await?;
            tracing::info!(months, %before, "old audit events were dropped from Postgres");
        }
        self.calendar = Some(Instant::now());
        Ok(())
    }

    fn write(&self, record: &Record) {
        self.log.queue.push_record(&record.to_line(self.log.clock.now()));
    }
}

#[async_trait]
impl Follower for Sender {
    async fn round(&mut self) -> Result<bool, StoreError> {
        self.keep_to_the_calendar().await?;
        let mut chunk = self.read().await?;
        // Everything in the files before it is sent.
        self.log.backlog.is_reading(chunk.number);
        if let Some(head) = chunk.skipped_to.take() {
            self.tell_skipped(&head).await?;
        }
        let had_lines = !chunk.lines.is_empty();
        self.send(&mut chunk).await?;
        if let Some(tail) = &mut self.tail {
            tail.advance(&chunk);
        }
        Ok(chunk.more || had_lines)
    }
}
