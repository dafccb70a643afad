//! A replica of the control plane: its table of the fleet is the product's.

use std::collections::BTreeMap;
use std::sync::Arc;

use dynamic_mcp_control_plane::scheduler::fleet::{
    ExecutorChannel, Fleet, Membership, NodeInfo, StatusSource,
};
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::JoinToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use super::World;
use super::calls::Stage;
use super::guard::GuardSide;
use crate::network::Place;
use crate::truth::Told;

pub struct Replica {
    pub is_up: bool,
    /// Which of its lives this is: what an earlier one had in memory is gone.
    pub life: u32,
    /// Held still, as by SIGSTOP; the number tells one time from another.
    pub frozen: Option<u64>,
    pub fleet: Arc<Fleet>,
    pub guard: GuardSide,
    members: BTreeMap<usize, (u64, Membership)>,
    /// Never used: jobs go over the wires of this simulation.
    channel: ExecutorChannel,
}

impl Replica {
    pub fn new(number: usize, seed: u64) -> Self {
        let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        Self {
            is_up: true,
            life: 1,
            frozen: None,
            fleet: Arc::new(Fleet::seeded(seed)),
            guard: GuardSide::new(number, 1),
            members: BTreeMap::new(),
            channel: InterceptedService::new(channel, JoinToken::random().attach()),
        }
    }

    pub fn leaves(&mut self, executor: usize, connection: u64) {
        if self
            .members
            .get(&executor)
            .is_some_and(|(joined, _)| *joined == connection)
        {
            self.members.remove(&executor);
        }
    }
}

impl World {
    pub fn heartbeat(&mut self, connection: u64, epoch: u64, status: NodeStatus) {
        let Some(open) = self.wires.get(connection) else {
            return;
        };
        let replica = &mut self.replicas[open.replica];
        if let Some((joined, membership)) = replica.members.get(&open.executor)
            && *joined == connection
        {
            return membership.heard(status);
        }
        let info = NodeInfo {
            id: self.executors[open.executor].id.clone(),
            epoch,
            version: String::new(),
            address: String::new(),
        };
        let joined = replica
            .fleet
            .join(info, replica.channel.clone(), StatusSource::Reported(status));
        if let Ok(membership) = joined {
            replica.members.insert(open.executor, (connection, membership));
        }
    }

    pub fn replica_dies(&mut self, number: usize, says_so: bool) {
        if !self.replicas[number].is_up {
            return;
        }
        self.replicas[number].is_up = false;
        self.process_dies(Place::Replica(number), says_so);
        for call in self.calls_under_way(number) {
            self.truth.tell(call, Told::ReplicaGone);
            let state = &mut self.calls[call];
            state.stage = Stage::Over;
            state.reservation = None;
        }
        self.clients_are_gone(number);
        let replica = &mut self.replicas[number];
        replica.members.clear();
        let seed = self.kernel.draw();
        replica.fleet = Arc::new(Fleet::seeded(seed));
    }

    pub fn replica_begins(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        if !replica.is_up {
            replica.is_up = true;
            replica.life += 1;
            replica.guard = GuardSide::new(number, replica.life);
            self.guard_begins(number);
        }
    }
}
