//! What the fleet can run now, and what keeps it from running more: for `/readyz`, `system.runtime_config` and the
//! refusals of the scheduler. Placement does not read it.

use std::collections::BTreeMap;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::{NodeStatus, Runtime, RuntimeStatus};

use super::{Fleet, NodeState, NodeView};

/// Of a large fleet not every trouble is named.
const TROUBLES_NAMED: usize = 10;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetHealth {
    pub joined: usize,
    /// How many of them can run something.
    pub takes_work: usize,
    /// Runtimes that nodes offer and none of them can run now.
    pub down: Vec<Runtime>,
    /// Why nodes run nothing, or not all that they offer, in words for a person.
    pub troubles: Vec<String>,
    /// How many nodes are in each state.
    pub states: BTreeMap<&'static str, usize>,
}

/// What one node offers. A runtime of a node that takes no work counts as unavailable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRuntimes {
    pub id: ExecutorId,
    pub runtimes: Vec<RuntimeStatus>,
}

impl NodeRuntimes {
    /// The same reason is said once for all the runtimes it keeps from running.
    fn troubles(&self) -> Vec<String> {
        let id = &self.id;
        if self.runtimes.is_empty() {
            return vec![format!("{id} offers no runtime")];
        }
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for offered in &self.runtimes {
            if let Some(reason) = &offered.unavailable {
                by_reason
                    .entry(reason)
                    .or_default()
                    .push(offered.runtime.as_str());
            }
        }
        by_reason
            .into_iter()
            .map(|(reason, runtimes)| format!("{id} ({}): {reason}", runtimes.join(", ")))
            .collect()
    }
}

impl Fleet {
    pub fn health(&self) -> FleetHealth {
        let views = self.nodes();
        let nodes: Vec<_> = views.iter().map(NodeView::runtimes).collect();
        let offered = nodes.iter().flat_map(|node| &node.runtimes);
        let down = |runtime: &Runtime| {
            let mut statuses = offered
                .clone()
                .filter(|status| status.runtime == *runtime)
                .peekable();
            statuses.peek().is_some() && statuses.all(|status| !status.is_available())
        };
        let mut states: BTreeMap<_, _> = NodeState::NAMES.map(|name| (name, 0)).into();
        for view in &views {
            *states.entry(view.state.as_str()).or_default() += 1;
        }
        FleetHealth {
            joined: nodes.len(),
            takes_work: nodes
                .iter()
                .filter(|node| node.runtimes.iter().any(RuntimeStatus::is_available))
                .count(),
            down: Runtime::ALL.into_iter().filter(down).collect(),
            troubles: some_of(nodes.iter().flat_map(NodeRuntimes::troubles)),
            states,
        }
    }

    pub fn runtimes(&self) -> Vec<NodeRuntimes> {
        self.nodes().iter().map(NodeView::runtimes).collect()
    }
}

fn some_of(mut all: impl Iterator<Item = String>) -> Vec<String> {
    let mut some: Vec<_> = all.by_ref().take(TROUBLES_NAMED).collect();
    let more = all.count();
    if more > 0 {
        some.push(format!("and {more} more"));
    }
    some
}

impl NodeView {
    fn runtimes(&self) -> NodeRuntimes {
        let of_the_node = match &self.state {
            NodeState::Stale => Some(format!("not heard of for {} s", self.age.as_secs())),
            NodeState::Draining => Some("draining".to_owned()),
            NodeState::Ready | NodeState::NotReady(_) => None,
        };
        let with_trouble = |offered: &RuntimeStatus| RuntimeStatus {
            unavailable: of_the_node
                .clone()
                .or_else(|| offered.unavailable.clone())
                .or_else(|| missing_images(offered.runtime, &self.status)),
            ..offered.clone()
        };
        NodeRuntimes {
            id: self.info.id.clone(),
            runtimes: self.status.runtimes.iter().map(with_trouble).collect(),
        }
    }
}

fn missing_images(runtime: Runtime, status: &NodeStatus) -> Option<String> {
    let missing: Vec<_> = status
        .images
        .iter()
        .filter(|image| runtime == Runtime::Node && !image.present)
        .map(|image| image.name.as_str())
        .collect();
    (!missing.is_empty()).then(|| format!("does not have {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use dynamic_mcp_shared::job::ImageStatus;

    use super::super::STALE_AFTER;
    use super::super::tests::join;
    use super::*;

    fn offered(runtime: Runtime, unavailable: Option<&str>) -> RuntimeStatus {
        RuntimeStatus {
            runtime,
            unavailable: unavailable.map(str::to_owned),
            sandbox: String::new(),
        }
    }

    fn status(runtimes: Vec<RuntimeStatus>) -> NodeStatus {
        NodeStatus {
            slots: 1,
            runtimes,
            ..NodeStatus::default()
        }
    }

    fn both() -> Vec<RuntimeStatus> {
        vec![offered(Runtime::Node, None), offered(Runtime::Isolate, None)]
    }

    #[tokio::test]
    async fn a_node_that_lost_one_runtime_takes_work_and_says_what_it_lost() {
        let fleet = Arc::new(Fleet::default());
        let id = ExecutorId::generate();
        let runtimes = vec![
            offered(Runtime::Node, Some("no answer")),
            offered(Runtime::Isolate, None),
        ];
        let _member = join(&fleet, &id, 1, status(runtimes)).unwrap();
        let health = fleet.health();
        assert_eq!((health.joined, health.takes_work), (1, 1));
        assert_eq!(health.down, [Runtime::Node]);
        assert_eq!(health.troubles, [format!("{id} (node): no answer")]);
        assert_eq!(fleet.offered(), Runtime::ALL, "it may come back");

        let _other = join(&fleet, &ExecutorId::generate(), 1, status(both())).unwrap();
        assert_eq!(fleet.health().down, [], "the other node runs it");
    }

    #[tokio::test]
    async fn a_runtime_that_nobody_offers_is_no_trouble() {
        let fleet = Arc::new(Fleet::default());
        let only_isolates = status(vec![offered(Runtime::Isolate, None)]);
        let _member = join(&fleet, &ExecutorId::generate(), 1, only_isolates).unwrap();
        let health = fleet.health();
        assert_eq!((health.joined, health.takes_work), (1, 1));
        assert_eq!((health.down, health.troubles), (vec![], vec![]));
        assert_eq!(health.states["ready"], 1);
        assert_eq!(fleet.offered(), [Runtime::Isolate]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_the_matter_with_a_node_is_said_once_for_all_its_runtimes() {
        let fleet = Arc::new(Fleet::default());
        let id = ExecutorId::generate();
        let _member = join(&fleet, &id, 1, status(both())).unwrap();
        tokio::time::advance(STALE_AFTER + Duration::from_secs(1)).await;
        let health = fleet.health();
        assert_eq!((health.takes_work, health.down), (0, Runtime::ALL.to_vec()));
        assert_eq!(
            health.troubles,
            [format!("{id} (node, isolate): not heard of for 4 s")]
        );
    }

    #[tokio::test]
    async fn a_missing_image_is_a_trouble_of_containers_only() {
        let fleet = Arc::new(Fleet::default());
        let id = ExecutorId::generate();
        let without_image = NodeStatus {
            images: vec![ImageStatus {
                name: "node:24".into(),
                present: false,
                warm: 0,
            }],
            ..status(both())
        };
        let _member = join(&fleet, &id, 1, without_image).unwrap();
        let health = fleet.health();
        assert_eq!(health.troubles, [format!("{id} (node): does not have node:24")]);
        assert_eq!(health.takes_work, 1);
    }
}
