//! An executor that has joined one replica is known to all.

use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::scheduler::fleet::NodeState;
use dynamic_mcp_control_plane::scheduler::placement::Need;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::NodeStatus;

use crate::rig::{Replica, status};
use crate::server::Server;

#[tokio::test]
async fn an_executor_that_joins_one_replica_gets_work_from_another_until_it_leaves() {
    let server = Server::start().await;
    let (one, other) = (
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    );
    let id = ExecutorId::generate();
    let member = one.join(&id, 1).unwrap();
    other.sees(&id, "known", |node| node.is_some()).await;
    let node = other.node(&id).unwrap();
    assert_eq!(
        (node.info.epoch, node.info.version.as_str(), node.status.slots),
        (1, "1", 4)
    );
    assert_eq!((node.others, node.joined_here), (vec![one.id.clone()], false));
    assert_eq!(other.fleet.reserve(Need::Isolate, &[]).unwrap().executor(), &id);

    member.heard(NodeStatus {
        draining: true,
        ..status(4)
    });
    other
        .sees(&id, "draining", |node| {
            node.is_some_and(|node| node.state == NodeState::Draining)
        })
        .await;
    member.lost();
    other.sees(&id, "gone", |node| node.is_none()).await;
}

#[tokio::test]
async fn a_replica_that_starts_later_knows_the_executors_at_once() {
    let server = Server::start().await;
    let one = Replica::start(&server.url()).await;
    let id = ExecutorId::generate();
    let _member = one.join(&id, 1).unwrap();
    let witness = Replica::start(&server.url()).await;
    witness.sees(&id, "known", |node| node.is_some()).await;
    let late = Replica::start(&server.url()).await;
    assert!(late.node(&id).is_some(), "before it serves its first request");
}

#[tokio::test]
async fn an_executor_that_has_joined_two_replicas_is_known_until_neither_hears_it() {
    let server = Server::start().await;
    let replicas = [
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    ];
    let [one, two, watching] = &replicas;
    let id = ExecutorId::generate();
    let (first, second) = (one.join(&id, 1).unwrap(), two.join(&id, 1).unwrap());
    // The last that hears it has been told of it by the other lately.
    two.sees(&id, "held by the other too", |node| {
        node.is_some_and(|node| node.others.len() == 1)
    })
    .await;
    watching
        .sees(&id, "held by both", |node| {
            node.is_some_and(|node| node.others.len() == 2)
        })
        .await;
    first.lost();
    second.heard(status(7));
    watching
        .sees(&id, "heard of through the second", |node| {
            node.is_some_and(|node| node.status.slots == 7)
        })
        .await;
    assert!(
        one.node(&id).is_some(),
        "the first replica reaches it all the same"
    );
    second.lost();
    let lost = Instant::now();
    for replica in &replicas {
        replica.sees(&id, "gone", |node| node.is_none()).await;
    }
    // One that nobody takes back is forgotten after nine seconds.
    assert!(
        lost.elapsed() < Duration::from_secs(8),
        "only after {:?}",
        lost.elapsed()
    );
}

#[tokio::test]
async fn an_executor_whose_stream_a_replica_ended_itself_is_there_for_the_others() {
    let server = Server::start().await;
    let (one, other) = (
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    );
    let id = ExecutorId::generate();
    let member = one.join(&id, 1).unwrap();
    other.sees(&id, "known", |node| node.is_some()).await;
    drop(member);
    assert!(one.node(&id).is_none());
    // What is told next is behind what the first might have told of it.
    let next = ExecutorId::generate();
    let _next = one.join(&next, 1).unwrap();
    other.sees(&next, "known", |node| node.is_some()).await;
    assert!(other.node(&id).is_some());
    let _again = other.join(&id, 1).unwrap();
    one.sees(&id, "known through the other", |node| node.is_some())
        .await;
}

#[tokio::test]
async fn a_record_can_not_lead_away_from_this_machine_where_plaintext_may_not_leave_it() {
    let server = Server::start().await;
    let (one, other) = (
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    );
    let (far, near) = (ExecutorId::generate(), ExecutorId::generate());
    let _far = one.join_at(&far, 1, "http://192.0.2.1:8790").unwrap();
    let _near = one.join(&near, 1).unwrap();
    other.sees(&near, "known", |node| node.is_some()).await;
    assert!(other.node(&far).is_none());
}
