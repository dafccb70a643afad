//! On which node a new session is to live.

use std::time::Duration;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::Runtime;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use super::{Home, SandboxError};
use crate::scheduler::fleet::{Fleet, NodeState, NodeView};

/// How long a session waits for a node that is ready, where none is.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// An executor in this process is asked for its state, and says nothing by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHome {
    #[error("no executor has joined")]
    NoNodes,
    #[error("no executor is ready")]
    NotReady,
    #[error("every executor has as many as it may")]
    Full,
    #[error("no executor offers sandbox sessions; they need one with a Docker Engine")]
    NotOffered,
    #[error("no executor has the image {0:?}")]
    NoImage(String),
}

impl NoHome {
    /// A moment may change it: executors join, and come back. A session that is open stays so for long.
    pub(super) const fn passes_soon(&self) -> bool {
        matches!(self, NoHome::NoNodes | NoHome::NotReady)
    }
}

impl From<NoHome> for SandboxError {
    fn from(none: NoHome) -> Self {
        SandboxError::NoPlace {
            why: none.to_string(),
            may_pass: none.passes_soon() || none == NoHome::Full,
        }
    }
}

/// The best of those that were not tried; a first attempt waits for one that is ready, as jobs do.
pub(super) async fn find(fleet: &Fleet, image: &str, tried: &[ExecutorId]) -> Result<Home, NoHome> {
    let give_up_at = Instant::now() + READY_WITHIN;
    loop {
        let looked_at = Instant::now();
        match choose(&fleet.nodes(), image, tried) {
            Err(none) if none.passes_soon() && tried.is_empty() && looked_at < give_up_at => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            chosen => return chosen,
        }
    }
}

/// The least loaded node that can have another session of the image.
fn choose(nodes: &[NodeView], image: &str, tried: &[ExecutorId]) -> Result<Home, NoHome> {
    let mut open: Vec<_> = nodes
        .iter()
        .filter(|node| !tried.contains(&node.info.id))
        .collect();
    // So that replicas which see the same picture don't all choose the same node.
    open.shuffle(&mut rand::rng());
    let mut keep = |fits: &dyn Fn(&NodeView) -> bool, none: NoHome| {
        open.retain(|node| fits(node));
        if open.is_empty() { Err(none) } else { Ok(()) }
    };
    keep(&|_| true, NoHome::NoNodes)?;
    keep(&|node| node.status.sandbox_slots > 0, NoHome::NotOffered)?;
    keep(&takes_work, NoHome::NotReady)?;
    keep(&|node| has_image(node, image), NoHome::NoImage(image.to_owned()))?;
    keep(&has_room, NoHome::Full)?;
    let least = open
        .into_iter()
        .min_by(|one, other| load(one).total_cmp(&load(other)))
        .ok_or(NoHome::NoNodes)?;
    Ok(Home {
        executor: least.info.id.clone(),
        epoch: least.info.epoch,
    })
}

fn takes_work(node: &NodeView) -> bool {
    let offer = node.status.runtime(Runtime::Node);
    node.state == NodeState::Ready && offer.is_some_and(|offer| offer.is_available())
}

fn has_image(node: &NodeView, image: &str) -> bool {
    let mut images = node.status.images.iter();
    images.any(|known| known.name == image && known.present)
}

fn has_room(node: &NodeView) -> bool {
    node.status.sandboxes.len() < node.status.sandbox_slots as usize
}

fn load(node: &NodeView) -> f64 {
    node.status.sandboxes.len() as f64 / f64::from(node.status.sandbox_slots)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dynamic_mcp_shared::job::NodeStatus;

    use super::*;
    use crate::scheduler::fleet::Membership;
    use crate::scheduler::fleet::tests::{self as fleet, IMAGE};

    fn join(fleet: &Arc<Fleet>, sandbox_slots: u32) -> Membership {
        let status = NodeStatus {
            sandbox_slots,
            ..fleet::status(1, 0)
        };
        let member = fleet::join(fleet, &ExecutorId::generate(), 1, status);
        member.expect("nobody is there of that name")
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_waits_for_a_node_that_is_ready_and_not_for_ever() {
        let fleet = Arc::new(Fleet::default());
        assert_eq!(find(&fleet, IMAGE, &[]).await, Err(NoHome::NoNodes));
        let comes = async {
            tokio::time::sleep(READY_WITHIN / 2).await;
            join(&fleet, 1)
        };
        let (home, member) = tokio::join!(find(&fleet, IMAGE, &[]), comes);
        assert!(home.is_ok());
        drop(member);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_wait_mends_is_refused_at_once() {
        let began = Instant::now();
        let fleet = Arc::new(Fleet::default());
        let without = join(&fleet, 0);
        assert_eq!(find(&fleet, IMAGE, &[]).await, Err(NoHome::NotOffered));
        let _with = join(&fleet, 1);
        drop(without);
        let other = "node:other".to_owned();
        assert_eq!(find(&fleet, &other, &[]).await, Err(NoHome::NoImage(other)));
        let home = find(&fleet, IMAGE, &[]).await.unwrap();
        let tried = find(&fleet, IMAGE, &[home.executor]).await;
        assert_eq!(tried, Err(NoHome::NoNodes));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
