//! How many sessions there are and how long they stay is counted over all replicas.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::json;

use super::{SOON, echoes, everywhere, plan};

const TTL: Duration = Duration::from_secs(2);

async fn until_gone(client: &McpClient) {
    eventually(SOON, async || {
        let answer = client.send(&client.request("ping", json!({}))).await?;
        ensure!(answer.status() == 404, "{}", answer.status());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_session_lives_while_any_replica_has_its_stream_and_leaves_nothing_behind() -> Result<()> {
    let ttl = TTL.as_secs().to_string();
    let cluster = Cluster::start(plan().replica("MCP_HTTP_SESSION_TTL_SECONDS", &ttl)).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let mut stream = copies[0].notifications().await?;
    // For longer than an idle one lives.
    let closed = tokio::time::timeout(TTL * 3, stream.next()).await;
    assert!(closed.is_err(), "the stream has ended: {closed:?}");
    for copy in &copies {
        echoes(copy).await?;
    }
    drop(stream);
    let idle = cluster.client(Era::Legacy).await?;
    // Asking would keep it.
    eventually(SOON, async || {
        let keys = cluster.redis.keys().await?;
        let of_sessions: Vec<_> = keys.iter().filter(|key| key.contains("mcp-session:")).collect();
        ensure!(of_sessions.is_empty(), "there are still {of_sessions:?}");
        Ok(())
    })
    .await;
    for gone in [&client, &idle] {
        for copy in everywhere(&cluster, gone) {
            until_gone(&copy).await;
        }
    }
    cluster.stop().await
}

/// As all replicas know it.
async fn in_use(cluster: &Cluster) -> Result<u32> {
    let keys = cluster.redis.keys().await?;
    let Some(busy) = keys.iter().find(|key| key.ends_with(":busy")) else {
        return Ok(0);
    };
    let mut connection = cluster.redis.connect().await?;
    Ok(redis::cmd("ZCARD").arg(busy).query_async(&mut connection).await?)
}

#[tokio::test]
async fn a_tenant_has_as_many_sessions_as_it_may_however_many_replicas_there_are() -> Result<()> {
    let cluster = Cluster::start(plan().replica("MCP_TENANT_MAX_SESSIONS", "3")).await?;
    let mut held = Vec::new();
    for index in 0..3 {
        let client = cluster.replicas[index].client(Era::Legacy).await?;
        held.push((client.notifications().await?, client));
    }
    // All are in use, which each replica knows of its own at once and of the others' a little later.
    eventually(SOON, async || {
        let in_use = in_use(&cluster).await?;
        ensure!(in_use == 3, "{in_use} are known to be in use");
        Ok(())
    })
    .await;
    for replica in &cluster.replicas {
        let further = replica.client(Era::Legacy).await;
        ensure!(further.is_err(), "a fourth session begins");
    }
    cluster.stop().await
}
