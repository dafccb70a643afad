//! Redis goes away, and comes back with nothing in it.

use std::time::Instant;

use dynamic_mcp_control_plane::scheduler::fleet::{NodeState, NodeView};
use dynamic_mcp_shared::ids::ExecutorId;

use crate::rig::{Replica, heartbeats};
use crate::server::Server;

fn is(state: NodeState) -> impl Fn(Option<&NodeView>) -> bool {
    move |node| node.is_some_and(|node| node.state == state)
}

#[tokio::test]
async fn an_emptied_redis_is_filled_again_by_the_next_heartbeats() {
    let server = Server::start().await;
    let one = Replica::start(&server.url()).await;
    let id = ExecutorId::generate();
    let _beating = heartbeats(one.join(&id, 1).unwrap());
    one.redis.query::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    let emptied = Instant::now();
    let index = one.redis.keys().fleet_index();
    while one
        .redis
        .query::<u32>(redis::cmd("ZCARD").arg(&index))
        .await
        .unwrap()
        == 0
    {
        assert!(emptied.elapsed() < crate::rig::SOON, "it stays empty");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    println!(
        "an emptied Redis knew the executor again after {:?}",
        emptied.elapsed()
    );
    let late = Replica::start(&server.url()).await;
    assert!(late.node(&id).is_some());
}

#[tokio::test]
async fn without_redis_a_replica_goes_on_with_its_own_executors_and_others_return_with_it() {
    let mut server = Server::start().await;
    let (one, other) = (
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    );
    let id = ExecutorId::generate();
    let _beating = heartbeats(one.join(&id, 1).unwrap());
    other.sees(&id, "ready", is(NodeState::Ready)).await;
    server.kill().await;
    other
        .sees(&id, "stale or forgotten", |node| {
            node.is_none_or(|node| node.state == NodeState::Stale)
        })
        .await;
    assert_eq!(one.node(&id).unwrap().state, NodeState::Ready);
    server.start_again().await;
    let back = Instant::now();
    other.sees(&id, "ready again", is(NodeState::Ready)).await;
    println!(
        "the other replica's executor was back {:?} after Redis",
        back.elapsed()
    );
}
