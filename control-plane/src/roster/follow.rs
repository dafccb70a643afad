//! Hears what other replicas tell of executors.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1::FleetNews;
use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::record::{Malformed, Record};
use super::store::Store;
use crate::grpc::Admission;
use crate::redis::{Heard, Subscription};
use crate::scheduler::fleet::{Fleet, NodeInfo, Ways};

/// How often everything is read, whatever was published: a word may be lost without a trace.
const READ_EVERY: Duration = Duration::from_secs(3);
const REFUSED_KEPT: usize = 1_024;

pub(super) struct Follower {
    pub(super) fleet: Arc<Fleet>,
    pub(super) store: Store,
    pub(super) admission: Arc<Admission>,
    pub(super) replica: ReplicaId,
    /// Those that were not taken when they were told of last, so that the log has each once.
    pub(super) refused: Mutex<HashSet<ExecutorId>>,
}

impl Follower {
    pub(super) async fn follow(self, mut news: Subscription) {
        let mut again = interval(READ_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = news.next() => match heard {
                    Heard::Listening => self.read_all().await,
                    Heard::Message { payload, .. } => self.hear(&payload),
                },
                _ = again.tick() => {
                    self.fleet.forget_lost();
                    self.read_all().await;
                }
            }
        }
    }

    pub(super) async fn read_all(&self) {
        match self.store.read_all().await {
            Ok(held) => {
                for held in held {
                    let others = held.by.iter().filter(|(replica, _)| *replica != self.replica);
                    for (replica, age) in others {
                        let said_at = Instant::now().checked_sub(*age).unwrap_or_else(Instant::now);
                        self.take(replica, held.record.clone(), said_at);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "what other replicas know of executors was not read"),
        }
    }

    fn hear(&self, payload: &[u8]) {
        let news = match FleetNews::decode(payload) {
            Ok(news) => news,
            Err(error) => {
                tracing::warn!(%error, "something that is no news was published among the news of executors");
                return;
            }
        };
        let replica: ReplicaId = match news.replica.parse() {
            Ok(replica) if replica == self.replica => return,
            Ok(replica) => replica,
            Err(error) => {
                tracing::warn!(%error, "news of executors came from nobody");
                return;
            }
        };
        let now = Instant::now();
        for register in news.executors {
            match Record::try_from(register) {
                Ok(record) => self.take(&replica, record, now),
                Err(error) => misunderstood(&error, &replica),
            }
        }
        for departure in news.departed {
            match departure.executor_id.parse() {
                Ok(id) => self.fleet.departed(&replica, &id, departure.epoch),
                Err(error) => misunderstood(&Malformed::from(error), &replica),
            }
        }
    }

    fn take(&self, by: &ReplicaId, record: Record, said_at: Instant) {
        let Record { info, status } = record;
        self.fleet
            .told(by, info, status, said_at, |info| self.connect(info, by));
    }

    fn connect(&self, info: &NodeInfo, by: &ReplicaId) -> Option<Ways> {
        match self.admission.channel_to(&info.id, &info.address) {
            Ok(ways) => {
                self.refused.lock().remove(&info.id);
                tracing::info!(executor.id = %info.id, executor.epoch = info.epoch, replica = %by, "an executor joined another replica");
                Some(ways)
            }
            Err(error) => {
                let mut refused = self.refused.lock();
                if refused.len() >= REFUSED_KEPT {
                    refused.clear();
                }
                if refused.insert(info.id.clone()) {
                    tracing::warn!(executor.id = %info.id, address = info.address, replica = %by, why = %error, "an executor that joined another replica is not taken");
                }
                None
            }
        }
    }
}

fn misunderstood(error: &Malformed, replica: &ReplicaId) {
    tracing::warn!(%error, %replica, "what another replica says of an executor is not understood");
}
