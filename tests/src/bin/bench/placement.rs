//! What it costs to find a node for a job: a slot is taken, kept for a while and given back, among fleets of three sizes,
//! with a heartbeat between any two choices.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dynamic_mcp_control_plane::scheduler::fleet::{Fleet, NodeInfo};
use dynamic_mcp_control_plane::scheduler::placement::Need;
use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use dynamic_mcp_shared::job::{ImageStatus, NodeStatus, Runtime, RuntimeStatus};
use dynamic_mcp_shared::join_token::JoinToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use crate::load::Samples;
use crate::report::{Goal, Report};

const CHOICES: usize = 100_000;
const IMAGES: [&str; 4] = ["node:lts-slim", "node:24", "node:22-slim", "tools:1"];

pub fn measure(report: &mut Report) {
    for nodes in [10, 1_000, 10_000] {
        let fleet = Arc::new(Fleet::default());
        let ids: Vec<_> = (0..nodes).map(|_| ExecutorId::generate()).collect();
        let replica = ReplicaId::generate();
        for (number, id) in ids.iter().enumerate() {
            tell(&fleet, &replica, id, number);
        }
        let chosen = choose(&fleet, &replica, &ids);
        report.row(&format!("a job finds its node among {nodes}"), &chosen);
        if nodes == 10_000 {
            let micros = chosen.p50().as_secs_f64() * 1e6;
            report.goal(Goal::at_most(
                "placement among 10,000 nodes, p50, µs",
                micros,
                20.0,
            ));
            let micros = chosen.percentile(0.99).as_secs_f64() * 1e6;
            report.goal(Goal::at_most(
                "placement among 10,000 nodes, p99, µs",
                micros,
                20.0,
            ));
        }
    }
}

fn choose(fleet: &Arc<Fleet>, replica: &ReplicaId, ids: &[ExecutorId]) -> Samples {
    let mut taken = Vec::with_capacity(CHOICES);
    // Half of all slots, so that there is something to choose.
    let most = ids.len();
    let mut held = VecDeque::with_capacity(most);
    let began = Instant::now();
    for number in 0..CHOICES {
        tell(fleet, replica, &ids[number % ids.len()], number);
        let image = IMAGES[number % IMAGES.len()];
        let asked = Instant::now();
        let reservation = black_box(fleet.reserve(Need::Node { image }, &[]));
        taken.push(asked.elapsed());
        held.extend(reservation);
        if held.len() > most {
            held.pop_front();
        }
    }
    Samples::new(taken, began.elapsed())
}

/// One in three has something warm.
fn tell(fleet: &Fleet, replica: &ReplicaId, id: &ExecutorId, number: usize) {
    let info = NodeInfo {
        id: id.clone(),
        epoch: 1,
        version: "1".to_owned(),
        address: "http://127.0.0.1:9".to_owned(),
    };
    let image = |&name: &&str| ImageStatus {
        name: name.to_owned(),
        present: true,
        warm: u32::from(number.is_multiple_of(3)),
    };
    let status = NodeStatus {
        slots: 2,
        runtimes: vec![RuntimeStatus {
            runtime: Runtime::Node,
            unavailable: None,
            sandbox: "runc".to_owned(),
        }],
        images: IMAGES.iter().map(image).collect(),
        ..NodeStatus::default()
    };
    fleet.told(replica, info, status, tokio::time::Instant::now(), |info| {
        let channel = Endpoint::from_shared(info.address.clone()).ok()?.connect_lazy();
        Some(InterceptedService::new(channel, JoinToken::random().attach()).into())
    });
}
