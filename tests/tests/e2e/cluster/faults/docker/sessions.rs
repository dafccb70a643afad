//! Sandbox sessions, which live on one executor and are known to every replica, while those are lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::on::On;
use serde_json::{Value, json};

use crate::cluster::SOON;

const TOLD: Duration = Duration::from_secs(2);
const LOST: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(1);

async fn begin(client: &McpClient) -> Result<String> {
    let begun = client.structured("sandbox.initialize", json!({})).await?;
    Ok(begun["sessionId"].as_str().context("a handle")?.to_owned())
}

async fn exec(client: &McpClient, session: &str, command: &str) -> Result<Value> {
    let arguments = json!({"sessionId": session, "commands": [command]});
    Ok(client.call("sandbox.exec", arguments).await?["structuredContent"].clone())
}

/// What the command printed.
async fn printed(client: &McpClient, session: &str, command: &str) -> Result<String> {
    let answer = exec(client, session, command).await?;
    let stdout = answer["commands"][0]["stdout"].as_str();
    Ok(stdout.with_context(|| answer.to_string())?.trim().to_owned())
}

#[tokio::test]
async fn a_session_outlives_the_replica_that_began_it_and_an_emptied_redis_but_not_its_executor() -> Result<()>
{
    let mut cluster = Cluster::start(Plan::default().executors(&[On::Docker, On::Isolate])).await?;
    let first = cluster.replicas[0].client(Era::Modern).await?;
    let session = begin(&first).await?;
    printed(&first, &session, "echo kept > /workspace/file").await?;

    let killed = Instant::now();
    cluster.kill_replica(0).await;
    for index in [1, 2] {
        let client = cluster.replicas[index].client(Era::Modern).await?;
        assert_eq!(printed(&client, &session, "cat /workspace/file").await?, "kept");
    }
    fault_row(
        "replica killed: its sandbox session works through the others",
        TOLD,
        killed.elapsed(),
    );
    cluster.start_replica(0).await?;
    cluster.until_ready(SOON).await;

    let emptied = Instant::now();
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut cluster.redis.connect().await?)
        .await?;
    for replica in &cluster.replicas {
        let client = replica.client(Era::Modern).await?;
        eventually(with_room(HEARTBEAT), async || {
            let said = printed(&client, &session, "cat /workspace/file").await?;
            ensure!(said == "kept", "{said}");
            Ok(())
        })
        .await;
    }
    fault_row(
        "Redis empty: a sandbox session is whole",
        HEARTBEAT,
        emptied.elapsed(),
    );

    // One that was started a moment ago still gives executors time to join before it takes a session for lost.
    let client = cluster.replicas[1].client(Era::Modern).await?;
    let killed = Instant::now();
    cluster.kill_executor(0).await;
    eventually(with_room(LOST), async || {
        let answer = exec(&client, &session, "true").await?;
        ensure!(answer.to_string().contains("session_lost"), "{answer}");
        Ok(())
    })
    .await;
    fault_row(
        "executor killed: its sandbox session is lost",
        LOST,
        killed.elapsed(),
    );
    cluster.start_executor(0).await?;
    cluster.until_ready(SOON).await;
    let answer = exec(&client, &session, "true").await?;
    assert!(
        answer["ok"] == false,
        "a handle of an earlier life was taken for one of this: {answer}"
    );
    let next = begin(&client).await?;
    assert_eq!(printed(&client, &next, "echo again").await?, "again");
    client
        .structured("sandbox.stop", json!({"sessionId": next}))
        .await?;
    eventually(SOON, async || {
        let left = cluster.executors[0].state().containers().await?;
        ensure!(left.is_empty(), "left are {left:?}");
        Ok(())
    })
    .await;
    cluster.stop().await
}
