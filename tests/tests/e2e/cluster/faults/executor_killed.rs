//! Kill -9 of an executor: before the start of a call, in the middle of one, and its next life.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use futures::future::join_all;
use serde_json::json;

use crate::cluster::{FOR_EVER, SOON, active, until_active};

const BOUND: Duration = Duration::from_secs(2);

#[tokio::test]
async fn its_calls_are_interrupted_and_those_of_others_go_on() -> Result<()> {
    // One call takes an executor whole, so that each has one.
    let mut cluster = Cluster::start(Plan::default().executor("MCP_SANDBOX_SLOTS", "1")).await?;
    let go_on = "ctx.progress(1); await new Promise((done) => setTimeout(done, 4000)); return 'went on';";
    cluster.make_tool("lasting", go_on, json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    let mut calls = Vec::new();
    for _ in 0..cluster.executors.len() {
        calls.push(Running::start(&client, "lasting", json!({})).await?);
    }
    let doomed = cluster.executors[0].id()?;

    let killed = Instant::now();
    cluster.kill_executor(0).await;
    let ended = join_all(
        calls
            .into_iter()
            .map(async |call| (call.structured().await, killed.elapsed())),
    )
    .await;
    let mut interrupted = Vec::new();
    for (answer, after) in ended {
        let answer = answer?;
        if answer["outcome"] == "interrupted" {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(&doomed), "{error}");
            interrupted.push(after);
        } else {
            assert_eq!(
                (&answer["outcome"], &answer["result"]),
                (&json!("ok"), &json!("went on")),
                "{answer}"
            );
        }
    }
    assert_eq!(
        interrupted.len(),
        1,
        "one call was on the executor that was killed"
    );
    fault_row("executor killed mid-call: interrupted", BOUND, interrupted[0]);
    until_active(&client, 0, SOON).await;

    cluster.start_executor(0).await?;
    cluster.until_ready(SOON).await;
    cluster.stop().await
}

/// The executor hangs from before the calls were made, so nothing of them can have been started there.
#[tokio::test]
async fn a_call_that_it_never_started_runs_elsewhere() -> Result<()> {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("quick", "return args.n;", json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    let hanging = cluster.executors[0].id()?;
    cluster.executors[0].process().signal("STOP").await;

    let client = &client;
    let calls = join_all((0..8).map(async |n| {
        let answer = client.structured("quick", json!({"args": {"n": n}})).await;
        (n, answer, Instant::now())
    }));
    let kill = async {
        // Those on the healthy ones end; the others wait for the one that hangs.
        eventually(SOON, async || {
            let active = active(client).await?;
            ensure!((1..8).contains(&active), "{active} calls are active");
            Ok(())
        })
        .await;
        cluster.kill_executor(0).await;
        Instant::now()
    };
    let (answers, killed) = tokio::join!(calls, kill);
    let mut last = killed;
    for (n, answer, at) in answers {
        let answer = answer?;
        assert_eq!(
            (&answer["outcome"], &answer["result"]),
            (&json!("ok"), &json!(n)),
            "{answer}"
        );
        last = last.max(at);
    }
    let moved = cluster.replicas.iter().any(|replica| {
        let log = replica.process().log();
        log.lines()
            .any(|line| line.contains("a node did not start the job") && line.contains(&hanging))
    });
    assert!(moved, "no call had been placed on the executor that hung");
    fault_row(
        "executor killed before the start: runs elsewhere",
        BOUND,
        last - killed,
    );
    // What it had been told to prepare ran nowhere twice.
    let mut jobs = Vec::new();
    for node in cluster.executors.iter().filter(|node| node.is_up()) {
        jobs.extend(node.ran()?.into_iter().map(|span| span.job));
    }
    jobs.sort_unstable();
    let all = jobs.len();
    jobs.dedup();
    assert_eq!((all, jobs.len()), (8, 8), "{jobs:?}");
    cluster.start_executor(0).await?;
    cluster.stop().await
}

/// While it is gone nobody sends it work, and when it is back it gets some.
#[tokio::test]
async fn restarted_it_is_back_in_service_at_every_replica() -> Result<()> {
    const BACK: Duration = Duration::from_secs(10);
    let mut cluster = Cluster::start(Plan::default().executor("MCP_SANDBOX_SLOTS", "1")).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let id = cluster.executors[0].id()?;
    cluster.kill_executor(0).await;
    let began = Instant::now();
    cluster.start_executor(0).await?;
    assert_eq!(cluster.executors[0].id()?, id, "another id was taken");
    let client = cluster.client(Era::Modern).await?;
    let mut calls = Vec::new();
    for _ in 0..cluster.executors.len() {
        calls.push(Running::start(&client, "endless", json!({})).await?);
    }
    fault_row("executor restarted: takes work again", BACK, began.elapsed());
    assert_eq!(cluster.executors[0].ran()?.len(), 1);
    drop(calls);
    until_active(&client, 0, with_room(BACK)).await;
    cluster.stop().await
}
