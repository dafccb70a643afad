//! A network that swallows everything between an executor and the control planes, so that neither is told of anything.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use futures::future::join_all;
use serde_json::json;

use super::LEASE;
use crate::cluster::{FOR_EVER, SOON, until_active};

#[tokio::test]
async fn the_calls_of_a_cut_off_executor_are_interrupted_and_it_ends_them_by_itself() -> Result<()> {
    let cluster = Cluster::start(Plan::default().executor("MCP_SANDBOX_SLOTS", "1")).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 120_000}))
        .await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    let mut calls = Vec::new();
    for _ in 0..cluster.executors.len() {
        calls.push(Running::start(&client, "endless", json!({})).await?);
    }
    let island = &cluster.executors[0];
    let cut = Instant::now();
    island.stall();
    // Whichever call was on it: the others loop on until they are given up.
    let told = async {
        let answers = calls.into_iter().map(|call| Box::pin(call.structured()));
        let (answer, _, others) = futures::future::select_all(answers).await;
        let told = cut.elapsed();
        drop(others);
        (answer, told)
    };
    let ended = async {
        eventually(with_room(LEASE), async || {
            let ran = island.ran()?;
            anyhow::ensure!(ran.iter().all(|span| span.ended.is_some()), "it runs {ran:?}");
            Ok(())
        })
        .await;
        cut.elapsed()
    };
    let ((answer, told), ended) = tokio::join!(told, ended);
    let answer = answer?;
    assert_eq!(answer["outcome"], "interrupted", "{answer}");
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains(&island.id()?), "{error}");
    fault_row("network cut between the planes: interrupted", LEASE, told);
    fault_row(
        "network cut between the planes: the executor ends its jobs",
        LEASE,
        ended,
    );

    until_active(&client, 0, SOON).await;
    // Nobody is sent there.
    let answers = join_all((0..3).map(|_| client.structured("quick", json!({})))).await;
    for answer in answers {
        assert_eq!(answer?["result"], 1);
    }
    island.flow();
    let began = Instant::now();
    let before = island.ran()?.len();
    eventually(SOON, async || {
        join_all((0..4).map(|_| client.structured("quick", json!({})))).await;
        anyhow::ensure!(island.ran()?.len() > before, "it has got no work yet");
        Ok(())
    })
    .await;
    fault_row(
        "network cut between the planes: takes work again",
        Duration::from_secs(10),
        began.elapsed(),
    );
    cluster.stop().await
}
