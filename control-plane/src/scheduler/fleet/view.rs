//! The fleet as a person sees it.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::job::NodeStatus;
use tokio::time::Instant;

use super::table::Entry;
use super::{Fleet, NodeInfo};

/// One executor.
#[derive(Debug, Clone)]
pub struct NodeView {
    pub info: Arc<NodeInfo>,
    /// What it said last.
    pub status: Arc<NodeStatus>,
    pub state: NodeState,
    /// How long ago that was; nothing for one in this process.
    pub age: Duration,
    /// Its own stream comes here.
    pub joined_here: bool,
    pub in_this_process: bool,
    /// The other replicas that told of it lately.
    pub others: Vec<ReplicaId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    Ready,
    /// Not heard of for too long to be given work.
    Stale,
    /// It finishes what it has, and leaves.
    Draining,
    /// It can run nothing now, and why.
    NotReady(String),
}

impl NodeState {
    pub const NAMES: [&'static str; 4] = ["ready", "stale", "draining", "not_ready"];

    pub const fn as_str(&self) -> &'static str {
        match self {
            NodeState::Ready => "ready",
            NodeState::Stale => "stale",
            NodeState::Draining => "draining",
            NodeState::NotReady(_) => "not_ready",
        }
    }
}

impl Fleet {
    /// All that are known, by their ids.
    pub fn nodes(&self) -> Vec<NodeView> {
        let now = Instant::now();
        let mut table = self.table.lock();
        table.catch_up(now);
        table.entries.values().map(|entry| entry.view(now)).collect()
    }
}

impl Entry {
    fn view(&self, now: Instant) -> NodeView {
        let in_this_process = self.is_local();
        let age = if in_this_process {
            Duration::ZERO
        } else {
            now.saturating_duration_since(self.heard_at)
        };
        NodeView {
            info: self.node.info.clone(),
            status: self.status.clone(),
            state: self.state(now),
            age,
            joined_here: self.own.is_some(),
            in_this_process,
            others: self.others_lately(now).cloned().collect(),
        }
    }

    fn state(&self, now: Instant) -> NodeState {
        if self.is_stale(now) {
            NodeState::Stale
        } else if self.status.draining {
            NodeState::Draining
        } else if self.status.is_ready() {
            NodeState::Ready
        } else {
            NodeState::NotReady(why_not(&self.status))
        }
    }
}

fn why_not(status: &NodeStatus) -> String {
    let mut reasons: Vec<_> = status
        .runtimes
        .iter()
        .filter_map(|offered| offered.unavailable.as_deref())
        .collect();
    reasons.dedup();
    match reasons.as_slice() {
        [] => "it offers no runtime".to_owned(),
        some => some.join("; "),
    }
}
