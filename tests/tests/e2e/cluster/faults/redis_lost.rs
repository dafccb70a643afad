//! Redis is killed, hangs, and comes back empty.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use serde_json::{Value, json};

use super::LEASE;
use crate::cluster::{FOR_EVER, SOON, active, let_through, until_active};

const BOUND: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(1);

async fn quick(client: &McpClient) -> Result<Value> {
    Ok(client.call("quick", json!({})).await?["structuredContent"].clone())
}

#[tokio::test]
async fn by_default_calls_are_refused_at_once_until_it_is_back() -> Result<()> {
    for signal in ["KILL", "STOP"] {
        let mut cluster = Cluster::start(Plan::default()).await?;
        cluster.make_tool("quick", "return 1;", json!({})).await?;
        let client = cluster.client(Era::Modern).await?;
        cluster.redis.signal(signal).await?;
        let mut slowest = Duration::ZERO;
        for _ in 0..6 {
            let asked = Instant::now();
            let refused = quick(&client).await?;
            slowest = slowest.max(asked.elapsed());
            assert_eq!(refused["outcome"], "never_started", "{refused}");
            assert!(refused["retryAfterMs"].is_u64(), "{refused}");
        }
        fault_row(
            &format!("Redis lost ({signal}): a call is refused"),
            BOUND,
            slowest,
        );
        for replica in &cluster.replicas {
            replica.until("degraded", Some("redis"), SOON).await;
        }
        // What needs no permit goes on.
        assert!(client.tool_names().await?.contains(&"quick".to_owned()));

        let back = Instant::now();
        if signal == "KILL" {
            cluster.restart_redis().await?;
        } else {
            cluster.redis.signal("CONT").await?;
        }
        cluster.until_ready(SOON).await;
        eventually(with_room(RECOVERY), async || {
            for _ in 0..3 {
                let answer = quick(&client).await?;
                ensure!(answer["result"] == 1, "{answer}");
            }
            Ok(())
        })
        .await;
        fault_row(
            &format!("Redis lost ({signal}): recovered"),
            RECOVERY,
            back.elapsed(),
        );
        cluster.stop().await?;
    }
    Ok(())
}

/// When it ends for each replica to be there, by Redis's own time.
async fn replicas_in_redis(cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
    let command = redis::cmd("ZRANGE")
        .arg("{dynamic-mcp:guard}:replicas")
        .arg(&[0, -1])
        .arg("WITHSCORES")
        .to_owned();
    let replicas: Vec<(String, u64)> = command.query_async(&mut cluster.redis.connect().await?).await?;
    Ok(replicas.into_iter().collect())
}

/// Each has said that it is there, and has then been told of all.
async fn until_replicas_know_each_other(cluster: &Cluster) -> Result<()> {
    eventually(with_room(LEASE), async || {
        let now = replicas_in_redis(cluster).await?;
        ensure!(now.len() == cluster.replicas.len(), "only {now:?} are there");
        Ok(())
    })
    .await;
    let all = replicas_in_redis(cluster).await?;
    eventually(with_room(LEASE), async || {
        let now = replicas_in_redis(cluster).await?;
        let told = all
            .iter()
            .all(|(id, until)| now.get(id).is_some_and(|later| later > until));
        ensure!(told, "{all:?} has become {now:?}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn with_local_limits_calls_go_on_and_each_replica_keeps_its_share() -> Result<()> {
    let plan = Plan::default()
        .replica("MCP_GUARD_ON_LOSS", "local")
        .replica("MCP_TOOL_MAX_CONCURRENCY", "6")
        .replica("MCP_TOOL_QUEUE_WAIT_MS", "0");
    let mut cluster = Cluster::start(plan).await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let client = cluster.client(Era::Modern).await?;
    until_replicas_know_each_other(&cluster).await?;
    cluster.redis.kill().await;
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        let asked = Instant::now();
        let answer = quick(&client).await?;
        slowest = slowest.max(asked.elapsed());
        assert_eq!(answer["result"], 1, "{answer}");
    }
    fault_row("Redis lost (local limits): a call runs", BOUND, slowest);

    // Two of six are each replica's.
    let mut calls = Vec::new();
    for replica in &cluster.replicas {
        let client = replica.client(Era::Modern).await?;
        for _ in 0..2 {
            calls.push(Running::start(&client, "endless", json!({})).await?);
        }
        let refused = quick(&client).await?;
        assert_eq!(refused["outcome"], "never_started", "{refused}");
    }
    drop(calls);
    cluster.restart_redis().await?;
    cluster.until_ready(SOON).await;
    until_active(&client, 0, SOON).await;
    cluster.stop().await
}

#[tokio::test]
async fn one_that_comes_back_empty_is_filled_again_and_the_limit_holds() -> Result<()> {
    let plan = Plan::default()
        .replica("MCP_TOOL_MAX_CONCURRENCY", "3")
        .replica("MCP_TOOL_QUEUE_WAIT_MS", "0");
    let cluster = Cluster::start(plan).await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let mut calls = Vec::new();
    for replica in &cluster.replicas {
        let client = replica.client(Era::Modern).await?;
        calls.push(Running::start(&client, "endless", json!({})).await?);
    }
    let client = cluster.client(Era::Modern).await?;
    let emptied = Instant::now();
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut cluster.redis.connect().await?)
        .await?;
    let mut executors = Vec::new();
    for node in &cluster.executors {
        executors.push(node.id()?);
    }
    eventually(with_room(HEARTBEAT), async || {
        let keys = cluster.redis.keys().await?;
        for id in &executors {
            ensure!(
                keys.iter().any(|key| key.contains(id)),
                "{id} is in none of {keys:?}"
            );
        }
        Ok(())
    })
    .await;
    fault_row(
        "Redis empty: every executor is known again",
        HEARTBEAT,
        emptied.elapsed(),
    );
    eventually(with_room(LEASE), async || {
        let active = active(&client).await?;
        ensure!(active == 3, "{active} calls are active, not 3");
        Ok(())
    })
    .await;
    fault_row(
        "Redis empty: every permit is known again",
        LEASE,
        emptied.elapsed(),
    );
    let refused = quick(&client).await?;
    assert_eq!(refused["outcome"], "never_started", "{refused}");
    drop(calls);
    until_active(&client, 0, SOON).await;
    cluster.stop().await
}

/// Others have it still, so what one replica lost costs only its own calls.
#[tokio::test]
async fn a_replica_that_alone_lost_it_ends_its_calls_before_others_take_their_permits() -> Result<()> {
    let cluster = Cluster::start(Plan::default().replica("MCP_TOOL_MAX_CONCURRENCY", "1")).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let cut_off = cluster.replicas[0].client(Era::Modern).await?;
    let other = cluster.replicas[1].client(Era::Modern).await?;
    let call = Running::start(&cut_off, "endless", json!({})).await?;
    let lost = Instant::now();
    cluster.replicas[0].redis.stall();
    let (ended, next) = tokio::join!(
        async { (call.structured().await, lost.elapsed()) },
        let_through(&other, "endless", with_room(LEASE))
    );
    let (answer, after) = ended;
    let (answer, next) = (answer?, next?);
    assert_eq!(answer["outcome"], "interrupted", "nobody cancelled it: {answer}");
    fault_row("Redis lost to one replica: its call is ended", LEASE, after);
    fault_row(
        "Redis lost to one replica: another has its permit",
        LEASE,
        lost.elapsed(),
    );
    let mut spans = Vec::new();
    for node in &cluster.executors {
        spans.extend(node.ran()?);
    }
    assert_eq!(crate::cluster::guard::most_at_once(&spans), 1, "{spans:?}");
    drop(next);
    cluster.replicas[0].redis.flow();
    cluster.until_ready(SOON).await;
    cluster.stop().await
}
