//! The records in Redis: one hash for each executor, with its epoch, what was said of it and until when each replica
//! vouches for it, and an index of them by the time of their end. All times are Redis's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1::{Departure, FleetNews, Register};
use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use prost::Message as _;
use redis::Script;

use super::record::Record;
use crate::redis::{Redis, RedisError};
use crate::scheduler::fleet::{STALE_AFTER, Told};

/// How many records one round trip brings.
const READ_AT_ONCE: usize = 500;
/// Fields of a record beside those that replicas have.
const EPOCH: &str = "epoch";
const RECORD: &str = "record";

#[derive(Clone)]
pub(super) struct Store {
    redis: Redis,
    replica: ReplicaId,
    scripts: Arc<Scripts>,
}

struct Scripts {
    announce: Script,
    withdraw: Script,
    list: Script,
}

/// A record, who vouches for it, and how long ago each said so last.
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) by: Vec<(ReplicaId, Duration)>,
}

impl Store {
    pub(super) fn new(redis: Redis, replica: ReplicaId) -> Self {
        Self {
            redis,
            replica,
            scripts: Arc::new(Scripts {
                announce: Script::new(include_str!("announce.lua")),
                withdraw: Script::new(include_str!("withdraw.lua")),
                list: Script::new(include_str!("list.lua")),
            }),
        }
    }

    /// Writes what was heard and publishes it. A record of a newer epoch stays as it is.
    pub(super) async fn announce(&self, told: &[Told]) -> Result<(), RedisError> {
        let keys = self.redis.keys();
        let registers: Vec<_> = told.iter().map(Register::from).collect();
        let records: Vec<_> = registers.iter().map(Register::encode_to_vec).collect();
        let news = FleetNews {
            replica: self.replica.to_string(),
            executors: registers,
            departed: Vec::new(),
        };
        let mut script = self.scripts.announce.prepare_invoke();
        script.key(keys.fleet_index());
        script.arg(self.replica.as_str()).arg(ttl_ms());
        script.arg(keys.fleet_news()).arg(news.encode_to_vec());
        for (told, record) in told.iter().zip(records) {
            script.key(keys.fleet_record(&told.info.id));
            script.arg(told.info.id.as_str()).arg(told.info.epoch).arg(record);
        }
        self.redis.invoke(&script).await
    }

    /// No longer vouches for an executor of that epoch. Unless another replica does, takes it out and publishes that. Answers
    /// whether it did.
    pub(super) async fn withdraw(&self, id: &ExecutorId, epoch: u64) -> Result<bool, RedisError> {
        let keys = self.redis.keys();
        let news = FleetNews {
            replica: self.replica.to_string(),
            executors: Vec::new(),
            departed: vec![Departure {
                executor_id: id.to_string(),
                epoch,
            }],
        };
        let mut script = self.scripts.withdraw.prepare_invoke();
        script.key(keys.fleet_index()).key(keys.fleet_record(id));
        script.arg(self.replica.as_str()).arg(id.as_str()).arg(epoch);
        script.arg(keys.fleet_news()).arg(news.encode_to_vec());
        self.redis.invoke(&script).await
    }

    /// Every record that has not ended.
    pub(super) async fn read_all(&self) -> Result<Vec<Held>, RedisError> {
        let keys = self.redis.keys();
        let mut script = self.scripts.list.prepare_invoke();
        script.key(keys.fleet_index());
        let listed: Vec<(String, u64)> = self.redis.invoke(&script).await?;
        let listed: Vec<(ExecutorId, u64)> = listed
            .into_iter()
            .filter_map(|(id, left_ms)| Some((id.parse().ok()?, left_ms)))
            .collect();
        let mut all = Vec::with_capacity(listed.len());
        for some in listed.chunks(READ_AT_ONCE) {
            let mut pipeline = redis::pipe();
            for (id, _) in some {
                pipeline.hgetall(keys.fleet_record(id));
            }
            let records: Vec<HashMap<String, Vec<u8>>> = self.redis.pipeline(&pipeline).await?;
            let left = some.iter().map(|(_, left_ms)| *left_ms);
            all.extend(
                records
                    .iter()
                    .zip(left)
                    .filter_map(|(fields, left_ms)| held(fields, left_ms)),
            );
        }
        Ok(all)
    }
}

/// `None`: it ended in between, or is of another version than this one.
fn held(fields: &HashMap<String, Vec<u8>>, left_ms: u64) -> Option<Held> {
    let register = Register::decode(fields.get(RECORD)?.as_slice()).ok()?;
    let record = Record::try_from(register).ok()?;
    let vouches: Vec<(ReplicaId, u64)> = fields
        .iter()
        .filter(|(field, _)| *field != EPOCH && *field != RECORD)
        .filter_map(|(field, ends)| {
            let ends = std::str::from_utf8(ends).ok()?;
            Some((field.parse().ok()?, ends.parse().ok()?))
        })
        .collect();
    // The latest of them is the end of the record, of which so much is left.
    let last = vouches.iter().map(|(_, ends)| *ends).max()?;
    let left = |ends: u64| (left_ms + ends).checked_sub(last).filter(|&left| left > 0);
    let by = vouches.into_iter().filter_map(|(replica, ends)| {
        let left = Duration::from_millis(left(ends)?);
        Some((replica, STALE_AFTER.saturating_sub(left)))
    });
    Some(Held {
        record,
        by: by.collect(),
    })
}

fn ttl_ms() -> u64 {
    u64::try_from(STALE_AFTER.as_millis()).unwrap_or(u64::MAX)
}
