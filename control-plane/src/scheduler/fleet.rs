//! The executors that have joined this replica, what they said of themselves last, and what this replica has placed on
//! them since.

mod health;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::AttachToken;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

pub use self::health::{FleetHealth, NodeRuntimes};
use super::placement::{self, Candidate, Need, NoPlace, Offer};

/// The way to an executor, with the join token on it.
pub type ExecutorChannel = InterceptedService<Channel, AttachToken>;

/// How often an executor says how it is. After three missed ones it gets no more work.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
pub const STALE_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub id: ExecutorId,
    pub epoch: u64,
    pub version: String,
}

/// How a node's state is known.
pub enum StatusSource {
    /// By heartbeats; this is the first.
    Reported(NodeStatus),
    /// It lives in this process and can be asked.
    Local(Box<dyn Fn() -> NodeStatus + Send + Sync>),
}

#[derive(Default)]
pub struct Fleet {
    nodes: Mutex<BTreeMap<ExecutorId, Arc<Node>>>,
    changed: Arc<Notify>,
}

struct Node {
    info: NodeInfo,
    channel: ExecutorChannel,
    state: Mutex<NodeState>,
}

struct NodeState {
    source: StatusSource,
    heard_at: Instant,
    /// Jobs of this replica that hold a slot there.
    mine: u32,
    /// What `mine` was at the last heartbeat, which counted those jobs too.
    mine_when_heard: u32,
}

/// An executor of that id with a newer epoch is here: the one that asks is a ghost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("executor {id} has joined with epoch {current} already; epoch {epoch} is out of date")]
pub struct OutOfDate {
    id: ExecutorId,
    epoch: u64,
    current: u64,
}

impl Fleet {
    /// Adds the executor until the membership is dropped; a newer epoch takes its predecessor's place.
    ///
    /// # Errors
    /// When a newer epoch of it has joined.
    pub fn join(
        self: &Arc<Self>,
        info: NodeInfo,
        channel: ExecutorChannel,
        source: StatusSource,
    ) -> Result<Membership, OutOfDate> {
        let mut nodes = self.nodes.lock();
        if let Some(current) = nodes.get(&info.id).filter(|node| node.info.epoch > info.epoch) {
            return Err(OutOfDate {
                id: info.id,
                epoch: info.epoch,
                current: current.info.epoch,
            });
        }
        let state = NodeState {
            source,
            heard_at: Instant::now(),
            mine: 0,
            mine_when_heard: 0,
        };
        let node = Arc::new(Node {
            info,
            channel,
            state: Mutex::new(state),
        });
        nodes.insert(node.info.id.clone(), node.clone());
        drop(nodes);
        self.changed.notify_waiters();
        Ok(Membership {
            fleet: self.clone(),
            node,
        })
    }

    /// A slot on the best node for the job that is not among the tried ones.
    ///
    /// # Errors
    /// Says what is lacking.
    pub fn reserve(self: &Arc<Self>, need: Need<'_>, tried: &[ExecutorId]) -> Result<Reservation, NoPlace> {
        // Held over the whole choice, so that two jobs can't both take the last slot.
        let nodes = self.nodes.lock();
        let open: Vec<_> = nodes
            .values()
            .filter(|node| !tried.contains(&node.info.id))
            .collect();
        let candidates: Vec<_> = open.iter().map(|node| node.candidate(need)).collect();
        let index = placement::choose(&candidates, &mut rand::rng())?;
        let node = open[index].clone();
        node.state.lock().mine += 1;
        Ok(Reservation {
            node,
            changed: self.changed.clone(),
        })
    }

    /// Completes when a node joined, left, said something new or got a slot free.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Node {
    fn status(state: &NodeState) -> NodeStatus {
        match &state.source {
            StatusSource::Reported(status) => status.clone(),
            StatusSource::Local(ask) => ask(),
        }
    }

    fn is_stale(state: &NodeState) -> bool {
        matches!(state.source, StatusSource::Reported(_)) && state.heard_at.elapsed() > STALE_AFTER
    }

    fn candidate(&self, need: Need<'_>) -> Candidate {
        let state = self.state.lock();
        let status = Self::status(&state);
        let (has_image, warm) = match need {
            Need::Isolate => (true, 0),
            Need::Node { image } => status
                .images
                .iter()
                .find(|known| known.name == image && known.present)
                .map_or((false, 0), |known| (true, known.warm)),
        };
        let runtime = match status.runtime(need.runtime()) {
            None => Offer::Lacking,
            Some(offered) if offered.is_available() => Offer::Ready,
            Some(_) => Offer::Down,
        };
        let used = match state.source {
            // It counts the jobs of every replica; those of ours that began or ended since are known better here.
            StatusSource::Reported(_) => status.running.saturating_sub(state.mine_when_heard) + state.mine,
            StatusSource::Local(_) => status.running.max(state.mine),
        };
        Candidate {
            slots: status.slots,
            used,
            takes_work: !status.draining && !Self::is_stale(&state),
            runtime,
            has_image,
            warm,
        }
    }
}

/// An executor's place in the fleet; dropping it takes the executor out.
pub struct Membership {
    fleet: Arc<Fleet>,
    node: Arc<Node>,
}

impl Membership {
    pub fn heard(&self, status: NodeStatus) {
        let mut state = self.node.state.lock();
        state.source = StatusSource::Reported(status);
        state.heard_at = Instant::now();
        state.mine_when_heard = state.mine;
        drop(state);
        self.fleet.changed.notify_waiters();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut nodes = self.fleet.nodes.lock();
        let id = &self.node.info.id;
        // A successor with the same id may be there already.
        if nodes
            .get(id)
            .is_some_and(|current| Arc::ptr_eq(current, &self.node))
        {
            nodes.remove(id);
        }
        drop(nodes);
        self.fleet.changed.notify_waiters();
    }
}

/// A slot on a node, held until it is dropped.
pub struct Reservation {
    node: Arc<Node>,
    changed: Arc<Notify>,
}

impl Reservation {
    pub fn executor(&self) -> &ExecutorId {
        &self.node.info.id
    }

    pub fn channel(&self) -> ExecutorChannel {
        self.node.channel.clone()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.node.state.lock();
        state.mine = state.mine.saturating_sub(1);
        drop(state);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::job::{ImageStatus, Runtime, RuntimeStatus};
    use dynamic_mcp_shared::join_token::JoinToken;
    use tonic::transport::Endpoint;

    use super::*;

    const IMAGE: &str = "node:lts-slim";
    const NODE: Need<'static> = Need::Node { image: IMAGE };

    fn status(slots: u32, running: u32) -> NodeStatus {
        let images = vec![ImageStatus {
            name: IMAGE.into(),
            present: true,
            warm: 0,
        }];
        NodeStatus {
            slots,
            running,
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Node,
                unavailable: None,
                sandbox: "runc".to_owned(),
            }],
            images,
            ..Default::default()
        }
    }

    pub(super) fn join(
        fleet: &Arc<Fleet>,
        id: &ExecutorId,
        epoch: u64,
        status: NodeStatus,
    ) -> Result<Membership, OutOfDate> {
        let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        let channel = InterceptedService::new(channel, JoinToken::random().attach());
        let info = NodeInfo {
            id: id.clone(),
            epoch,
            version: String::new(),
        };
        fleet.join(info, channel, StatusSource::Reported(status))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_heard_of_gets_no_work_until_it_is() {
        let fleet = Arc::new(Fleet::default());
        let member = join(&fleet, &ExecutorId::generate(), 1, status(1, 0)).unwrap();
        tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
        assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::NotReady));
        member.heard(status(1, 0));
        assert!(fleet.reserve(NODE, &[]).is_ok());
    }

    #[tokio::test]
    async fn a_reserved_slot_is_free_again_when_the_reservation_is_dropped() {
        let fleet = Arc::new(Fleet::default());
        let _member = join(&fleet, &ExecutorId::generate(), 1, status(1, 0)).unwrap();
        let reservation = fleet.reserve(NODE, &[]).unwrap();
        assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::Full));
        drop(reservation);
        assert!(fleet.reserve(NODE, &[]).is_ok());
    }

    #[tokio::test]
    async fn a_job_counted_by_a_heartbeat_is_not_counted_twice() {
        let fleet = Arc::new(Fleet::default());
        let member = join(&fleet, &ExecutorId::generate(), 1, status(2, 0)).unwrap();
        let _mine = fleet.reserve(NODE, &[]).unwrap();
        member.heard(status(2, 1));
        assert!(fleet.reserve(NODE, &[]).is_ok());
    }

    #[tokio::test]
    async fn an_older_epoch_can_not_take_the_place_of_a_newer_one() {
        let fleet = Arc::new(Fleet::default());
        let id = ExecutorId::generate();
        let old = join(&fleet, &id, 1, status(1, 0)).unwrap();
        let _new = join(&fleet, &id, 2, status(1, 0)).unwrap();
        assert!(join(&fleet, &id, 1, status(1, 0)).is_err());
        drop(old);
        assert_eq!(
            fleet.health().joined,
            1,
            "the successor stays when its predecessor's stream ends"
        );
    }
}
