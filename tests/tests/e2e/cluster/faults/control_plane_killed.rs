//! Kill -9 of a replica.

use std::time::Instant;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use serde_json::json;

use super::{LEASE, until_nothing_runs};
use crate::cluster::{FOR_EVER, SOON, active, until_active};

#[tokio::test]
async fn its_calls_end_their_permits_return_and_the_others_serve_on() -> Result<()> {
    let plan = Plan::default().replica("MCP_TOOL_MAX_CONCURRENCY", "3");
    let mut cluster = Cluster::start(plan).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    let doomed = cluster.replicas[0].client(Era::Modern).await?;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(Running::start(&doomed, "endless", json!({})).await?);
    }
    let survivor = cluster.replicas[1].client(Era::Modern).await?;
    ensure!(active(&survivor).await? == 3, "the other replica counts them too");

    let killed = Instant::now();
    cluster.kill_replica(0).await;
    for call in calls {
        assert!(
            call.result().await.is_err(),
            "somebody answered for a dead replica"
        );
    }
    until_nothing_runs(&cluster, with_room(LEASE)).await;
    let stopped = killed.elapsed();
    fault_row("replica killed: its code is stopped", LEASE, stopped);
    until_active(&survivor, 0, with_room(LEASE)).await;
    fault_row("replica killed: its permits are back", LEASE, killed.elapsed());

    // Through the balancer, which still knows the dead one.
    let client = cluster.client(Era::Modern).await?;
    for _ in 0..6 {
        assert_eq!(client.structured("quick", json!({})).await?["result"], 1);
    }
    cluster.start_replica(0).await?;
    cluster.until_ready(SOON).await;
    let successor = cluster.replicas[0].client(Era::Modern).await?;
    assert_eq!(successor.structured("quick", json!({})).await?["result"], 1);
    cluster.stop().await
}

/// All of them, one after the other, while nobody waits for any to come back.
#[tokio::test]
async fn the_last_one_that_is_left_serves_alone() -> Result<()> {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    for index in 0..2 {
        cluster.kill_replica(index).await;
        eventually(SOON, async || {
            let answer = client.structured("quick", json!({})).await?;
            ensure!(answer["result"] == 1, "{answer}");
            Ok(())
        })
        .await;
    }
    cluster.make_tool("made.alone", "return 2;", json!({})).await?;
    for index in 0..2 {
        cluster.start_replica(index).await?;
    }
    cluster.until_ready(SOON).await;
    for replica in &cluster.replicas {
        let client = replica.client(Era::Modern).await?;
        assert_eq!(client.structured("made.alone", json!({})).await?["result"], 2);
    }
    cluster.stop().await
}
