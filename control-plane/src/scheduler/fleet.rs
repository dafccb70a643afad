//! The executors that can be reached from this replica, what they said of themselves last, and what this replica has
//! placed on them since.
//!
//! ```text
//! its own Join stream ──▶ joined here ──the stream ends──▶ gone, or heard of through another replica
//! another replica     ──▶ heard of    ──no replica hears it, or says so for long──▶ gone
//!
//! each of them: ready ──not heard of for STALE_AFTER──▶ stale, which gets no work ──heard of again──▶ ready
//! ```
//!
//! A newer epoch of an executor takes the place of an older one, whoever tells of it; an older one is not let in.

mod health;
mod membership;
mod outgoing;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use dynamic_mcp_shared::job::{NodeStatus, Runtime};
use dynamic_mcp_shared::join_token::AttachToken;
use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

pub use self::health::{FleetHealth, NodeRuntimes};
pub use self::membership::{Membership, Reservation};
pub use self::outgoing::{News, Told};
use self::table::{Node, Table};
pub use self::view::{NodeState, NodeView};
use super::placement::{Need, NoPlace};

/// The way to an executor, with the join token on it.
pub type ExecutorChannel = InterceptedService<Channel, AttachToken>;

/// The connections to an executor, each made when it is first used. The bytes of files have one of their own, so that they
/// never stall a cancel.
#[derive(Clone)]
pub struct Ways {
    pub jobs: ExecutorChannel,
    pub files: ExecutorChannel,
}

impl From<ExecutorChannel> for Ways {
    /// Where both share one, as in this process.
    fn from(channel: ExecutorChannel) -> Self {
        Self {
            jobs: channel.clone(),
            files: channel,
        }
    }
}

/// How often an executor says how it is. After three missed ones it gets no more work.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
pub const STALE_AFTER: Duration = Duration::from_secs(3);
/// An executor that only others tell of, and that is not heard of for so long, is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(9);
/// Heartbeats that a listener may lag behind; the next ones say the same again.
const HEARTBEATS_KEPT: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub id: ExecutorId,
    pub epoch: u64,
    pub version: String,
    /// Where it is reached; empty for one in this process.
    pub address: String,
}

/// How a node's state is known.
pub enum StatusSource {
    /// By heartbeats; this is the first.
    Reported(NodeStatus),
    /// It lives in this process and can be asked.
    Local(Box<dyn Fn() -> NodeStatus + Send + Sync>),
}

/// What an executor said on its own stream to this replica.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub executor: ExecutorId,
    pub epoch: u64,
    pub status: Arc<NodeStatus>,
}

pub struct Fleet {
    table: Mutex<Table>,
    changed: Arc<Notify>,
    /// There is something to tell other replicas.
    to_tell: Notify,
    heartbeats: broadcast::Sender<Heartbeat>,
}

/// An executor of that id with a newer epoch is here: the one that asks is a ghost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("executor {id} has joined with epoch {current} already; epoch {epoch} is out of date")]
pub struct OutOfDate {
    id: ExecutorId,
    epoch: u64,
    current: u64,
}

/// Why work for one certain executor can't go there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThere {
    #[error("executor {0} is not in the fleet")]
    Unknown(ExecutorId),
    /// What an older epoch had is gone with it.
    #[error("executor {id} was restarted: it has epoch {current}, not {wanted}")]
    OtherEpoch {
        id: ExecutorId,
        wanted: u64,
        current: u64,
    },
    #[error("executor {id} has not been heard of for {seconds} s")]
    Stale { id: ExecutorId, seconds: u64 },
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            changed: Arc::default(),
            to_tell: Notify::new(),
            heartbeats: broadcast::Sender::new(HEARTBEATS_KEPT),
        }
    }
}

impl Fleet {
    /// One whose placement draws the same with the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            table: Mutex::new(Table::seeded(seed)),
            ..Self::default()
        }
    }

    /// Adds the executor until the membership is dropped; a newer epoch takes its predecessor's place.
    ///
    /// # Errors
    /// When a newer epoch of it has joined, here or elsewhere.
    pub fn join(
        self: &Arc<Self>,
        info: NodeInfo,
        ways: impl Into<Ways>,
        source: StatusSource,
    ) -> Result<Membership, OutOfDate> {
        let (id, epoch) = (info.id.clone(), info.epoch);
        let superseded = CancellationToken::new();
        let (ticket, status) = {
            let mut table = self.table.lock();
            let info = Arc::new(info);
            let ways = ways.into();
            let node = Node { info, ways };
            table.join(node, source, superseded.clone(), Instant::now())?
        };
        let membership = Membership::new(self.clone(), id, epoch, ticket, superseded);
        self.heard_of(&membership, status);
        Ok(membership)
    }

    /// Takes note of what another replica says of an executor. `connect` is asked only when there is no way to it yet.
    /// An executor that has joined here is known better from itself.
    pub fn told(
        &self,
        by: &ReplicaId,
        info: NodeInfo,
        status: NodeStatus,
        said_at: Instant,
        connect: impl FnOnce(&NodeInfo) -> Option<Ways>,
    ) {
        let mut table = self.table.lock();
        table.told(by, info, status, said_at, connect);
        drop(table);
        self.changed.notify_waiters();
    }

    /// Another replica has lost it, and none vouches for it any more.
    pub fn departed(&self, by: &ReplicaId, id: &ExecutorId, epoch: u64) {
        self.table.lock().departed(by, id, epoch);
        self.changed.notify_waiters();
    }

    /// No replica vouches for it, this one having been the last.
    pub fn gone(&self, id: &ExecutorId, epoch: u64) {
        self.table.lock().gone(id, epoch);
        self.changed.notify_waiters();
    }

    /// Forgets those that only others told of, and that nobody has heard of for long.
    pub fn forget_lost(&self) {
        self.table.lock().forget_lost(Instant::now());
    }

    /// A slot on the best node for the job that is not among the tried ones.
    ///
    /// # Errors
    /// Says what is lacking.
    pub fn reserve(self: &Arc<Self>, need: Need<'_>, tried: &[ExecutorId]) -> Result<Reservation, NoPlace> {
        // Held over the whole choice, so that two jobs can't both take the last slot.
        let mut table = self.table.lock();
        let node = table.reserve(need, tried, Instant::now())?;
        Ok(Reservation::of_slot(self.clone(), node))
    }

    /// A node on which the job may wait for a slot, where none has one free as far as is known here: others take those that
    /// come free, and what is known of them is a moment old.
    pub fn reserve_full(self: &Arc<Self>, need: Need<'_>, tried: &[ExecutorId]) -> Option<Reservation> {
        let mut table = self.table.lock();
        let node = table.reserve_full(need, tried, Instant::now())?;
        Some(Reservation::of_slot(self.clone(), node))
    }

    /// The way to one certain executor, for what lives there already. It takes no slot, and goes to one that drains too.
    ///
    /// # Errors
    /// When it is not there, or not the one that it was.
    pub fn pinned(self: &Arc<Self>, id: &ExecutorId, epoch: u64) -> Result<Reservation, NotThere> {
        let node = self.table.lock().pinned(id, epoch, Instant::now())?;
        Ok(Reservation::without_slot(self.clone(), node))
    }

    /// Completes when a node joined, left, said something new or got a slot free.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What executors say from now on on their own streams to this replica, the registration included. Who lags behind
    /// misses some, and the next ones make up for it.
    pub fn heartbeats(&self) -> broadcast::Receiver<Heartbeat> {
        self.heartbeats.subscribe()
    }

    /// The runtimes that any node has, be they down at this moment.
    pub fn offered(&self) -> Vec<Runtime> {
        self.table.lock().offered()
    }

    fn heard_of(&self, member: &Membership, status: Option<Arc<NodeStatus>>) {
        self.changed.notify_waiters();
        self.to_tell.notify_one();
        let Some(status) = status else { return };
        let _nobody_listens = self.heartbeats.send(Heartbeat {
            executor: member.id().clone(),
            epoch: member.epoch(),
            status,
        });
    }
}
