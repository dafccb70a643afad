//! What client and server say to each other reaches the replica that it is for.

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{SOON, everywhere, is_list_changed, plan, unless_quiet};

#[tokio::test]
async fn a_change_is_told_on_the_stream_whichever_replica_made_it_and_by_each_no_more_than_once() -> Result<()>
{
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    // Each has a copy that hears of changes by itself.
    for copy in &copies {
        super::echoes(copy).await?;
    }
    let mut stream = copies[2].notifications().await?;
    for (index, copy) in copies.iter().enumerate() {
        copy.create_tool(&format!("made.at.{index}"), "return 1;", json!({}))
            .await?;
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("made at {index}"))?;
        // The others hear of it in their own time: what they say before the first was read is not said again.
        let mut further = 0;
        while let Some(message) = unless_quiet(&mut stream, is_list_changed).await? {
            further += 1;
            ensure!(further < copies.len(), "told of {index} once more: {message}");
        }
    }
    cluster.stop().await
}

/// Calls code that prints a line, and looks whether that line comes by the stream.
async fn prints(at: &McpClient, text: &str) -> Result<()> {
    let code = format!("console.log('{text}'); return 1;");
    at.structured("run_js_ephemeral", json!({"code": code})).await?;
    Ok(())
}

#[tokio::test]
async fn a_log_level_set_at_one_replica_holds_at_all_and_the_logs_come_by_the_one_stream() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    // One has a copy before the level is set, the other one after it.
    super::echoes(&copies[1]).await?;
    let mut stream = copies[1].notifications().await?;
    copies[0]
        .ask("logging/setLevel", json!({"level": "info"}))
        .await?;
    for (index, copy) in copies.iter().enumerate() {
        let text = format!("printed at {index}");
        prints(copy, &text).await?;
        let told = stream
            .find(|message| message["params"]["data"] == json!(text))
            .await;
        told.with_context(|| format!("printed at {index}"))?;
    }
    cluster.stop().await
}

#[tokio::test]
async fn a_call_is_cancelled_through_any_replica() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let watcher = cluster.client(Era::Modern).await?;
    let active = async || -> Result<Value> {
        let metrics = watcher.structured("system.guard_metrics", json!({})).await?;
        Ok(metrics["activeExecutions"].clone())
    };
    for (runs, cancels) in [(0, 1), (2, 0)] {
        let call = copies[runs].request(
            "tools/call",
            json!({"name": "run_js_ephemeral", "arguments": {"code": "for (;;);", "timeoutMs": 100_000}}),
        );
        // The first one may have to make its copy.
        let stream = copies[runs].send(&call).await?.error_for_status()?;
        let at = cluster.replicas[runs].client(Era::Modern).await?;
        let own = async || -> Result<Value> {
            let metrics = at.structured("system.guard_metrics", json!({})).await?;
            Ok(metrics["activeExecutions"].clone())
        };
        eventually(SOON, async || {
            let count = own().await?;
            ensure!(count == 1, "{count} calls run");
            Ok(())
        })
        .await;
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": call["id"], "reason": "enough"}});
        copies[cancels].send(&cancel).await?.error_for_status()?;
        eventually(SOON, async || {
            let count = own().await?;
            ensure!(count == 0, "{count} calls run on");
            Ok(())
        })
        .await;
        drop(stream);
    }
    assert_eq!(active().await?, 0);
    cluster.stop().await
}
