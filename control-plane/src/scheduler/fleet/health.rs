//! What the fleet can run now, and what keeps it from running more: for `/readyz`, `system.runtime_config` and the
//! refusals of the scheduler. Placement does not read it.

use std::collections::BTreeMap;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::{NodeStatus, Runtime, RuntimeStatus};

use super::{Fleet, Node};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetHealth {
    pub joined: usize,
    /// How many of them can run something.
    pub takes_work: usize,
    /// Runtimes that nodes offer and none of them can run now.
    pub down: Vec<Runtime>,
    /// Why nodes run nothing, or not all that they offer, in words for a person.
    pub troubles: Vec<String>,
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
        let nodes = self.runtimes();
        let offered = nodes.iter().flat_map(|node| &node.runtimes);
        let down = |runtime: &Runtime| {
            let mut statuses = offered
                .clone()
                .filter(|status| status.runtime == *runtime)
                .peekable();
            statuses.peek().is_some() && statuses.all(|status| !status.is_available())
        };
        FleetHealth {
            joined: nodes.len(),
            takes_work: nodes
                .iter()
                .filter(|node| node.runtimes.iter().any(RuntimeStatus::is_available))
                .count(),
            down: Runtime::ALL.into_iter().filter(down).collect(),
            troubles: nodes.iter().flat_map(NodeRuntimes::troubles).collect(),
        }
    }

    pub fn runtimes(&self) -> Vec<NodeRuntimes> {
        let nodes = self.nodes.lock();
        nodes
            .values()
            .map(|node| NodeRuntimes {
                id: node.info.id.clone(),
                runtimes: node.runtimes(),
            })
            .collect()
    }

    /// The runtimes that any node has, be they down at this moment.
    pub fn offered(&self) -> Vec<Runtime> {
        let nodes = self.nodes.lock();
        let offers = |runtime| {
            nodes
                .values()
                .any(|node| Node::status(&node.state.lock()).runtime(runtime).is_some())
        };
        Runtime::ALL
            .into_iter()
            .filter(|&runtime| offers(runtime))
            .collect()
    }
}

impl Node {
    fn runtimes(&self) -> Vec<RuntimeStatus> {
        let state = self.state.lock();
        let status = Node::status(&state);
        let of_the_node = if Node::is_stale(&state) {
            Some(format!(
                "not heard of for {} s",
                state.heard_at.elapsed().as_secs()
            ))
        } else {
            status.draining.then(|| "draining".to_owned())
        };
        let with_trouble = |offered: &RuntimeStatus| RuntimeStatus {
            unavailable: of_the_node
                .clone()
                .or_else(|| offered.unavailable.clone())
                .or_else(|| missing_images(offered.runtime, &status)),
            ..offered.clone()
        };
        status.runtimes.iter().map(with_trouble).collect()
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
        let expected = FleetHealth {
            joined: 1,
            takes_work: 1,
            ..FleetHealth::default()
        };
        assert_eq!(fleet.health(), expected);
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
