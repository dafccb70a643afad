//! The same over a Redis Cluster of three nodes.

use std::time::Duration;

use dynamic_mcp_control_plane::guard::{Guard as _, Refusal, Share};
use tokio::task::JoinSet;

use crate::nodes::Cluster;
use crate::rig::{ALL, closed, config, counts, eventually, refusal, replica, scope};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_slots_windows_and_counts_over_a_cluster() {
    let cluster = Cluster::start().await;
    let urls: Vec<_> = cluster.nodes.iter().map(Server::url).collect();
    let one = replica(&urls.join(","), closed(config(2))).await;
    let other = replica(&urls.join(","), closed(config(2))).await;
    let share = Share {
        max_calls_per_window: Some(4),
        ..ALL
    };
    let permits = [
        one.guard.acquire(&scope("t", "a"), share).await.unwrap(),
        one.guard.acquire(&scope("t", "a"), share).await.unwrap(),
    ];
    let mut waiting = JoinSet::new();
    for name in ["a", "b"] {
        let guard = other.guard.clone();
        waiting.spawn(async move { guard.acquire(&scope("t", name), share).await.map(drop) });
    }
    one.until_waiting(2).await;
    assert_eq!(other.running("t").await, 2);
    drop(permits);
    for begun in waiting.join_all().await {
        begun.unwrap();
    }
    let refused = refusal(one.guard.acquire(&scope("t", "a"), share).await);
    assert!(matches!(refused, Refusal::Rate { limit: 4, .. }), "{refused}");
    eventually(async || other.running("t").await == 0).await;
    assert_eq!(counts(&*other.guard, "t", "a").await.allowed, 3);
    // Renewals work there, too.
    let held = one.acquire("other").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!held.revoked().is_cancelled());
}
