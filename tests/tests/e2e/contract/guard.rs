//! How many calls run at once, how many may begin in a window of time, and what is counted.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Wires;

/// Runs until it is cancelled.
const ENDLESS: &str = "await new Promise(() => setInterval(() => {}, 1000));";

async fn scope(client: &McpClient, scope: &str) -> Result<Value> {
    let metrics = client.structured("system.guard_metrics", json!({})).await?;
    let scopes = metrics["scopes"].as_array().into_iter().flatten();
    Ok(scopes
        .into_iter()
        .find(|entry| entry["scope"] == scope)
        .cloned()
        .unwrap_or_default())
}

#[tokio::test]
async fn the_metrics_count_the_calls_of_each_tool() -> Result<()> {
    let wires = Wires::start(&[
        ("MCP_TOOL_MAX_CONCURRENCY", "5"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "50"),
    ])
    .await?;
    for (tag, client) in wires.each() {
        let name = format!("counted.{tag}");
        client
            .create_tool(
                &name,
                "if (args.fail) throw new Error('no'); return 1;",
                json!({}),
            )
            .await?;
        client.call(&name, json!({})).await?;
        client.call(&name, json!({"args": {"fail": true}})).await?;
        let metrics = client.structured("system.guard_metrics", json!({})).await?;
        assert_eq!(metrics["activeExecutions"], 0, "{metrics}");
        assert_eq!(
            metrics["limits"],
            json!({"maxConcurrency": 5, "maxCallsPerWindow": 50, "windowMs": 60_000})
        );
        let counted = scope(client, &format!("dynamic.exec.{name}")).await?;
        let expected = json!({
            "scope": format!("dynamic.exec.{name}"),
            "total": 2, "allowed": 2, "rejectedRate": 0, "rejectedConcurrency": 0, "failed": 1
        });
        assert_eq!(counted, expected, "{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_too_many_in_the_window_is_refused_with_when_to_come_back_and_others_are_not() -> Result<()> {
    let wires = Wires::start(&[("MCP_TOOL_MAX_CALLS_PER_WINDOW", "2")]).await?;
    for (tag, client) in wires.each() {
        let (name, other) = (format!("limited.{tag}"), format!("other.{tag}"));
        client.create_tool(&name, "return 1;", json!({})).await?;
        client.create_tool(&other, "return 1;", json!({})).await?;
        client.structured(&name, json!({})).await?;
        client
            .structured("dynamic.tool.call", json!({"name": name}))
            .await?;
        let refused = client.call(&name, json!({})).await?;
        assert_eq!(refused["isError"], true, "{refused}");
        let structured = &refused["structuredContent"];
        assert_eq!(
            (&structured["outcome"], &structured["reason"]),
            (&json!("never_started"), &json!("rate_limited"))
        );
        assert!(
            structured["retryAfterMs"]
                .as_u64()
                .is_some_and(|ms| (1..=60_000).contains(&ms)),
            "{refused}"
        );
        client.structured(&other, json!({})).await?;
        let counted = scope(client, &format!("dynamic.exec.{name}")).await?;
        assert_eq!(
            (&counted["total"], &counted["allowed"], &counted["rejectedRate"]),
            (&json!(3), &json!(2), &json!(1))
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_window_slides_so_that_a_refused_call_succeeds_when_it_was_told_to_come_back() -> Result<()> {
    let server = AllInOne::start(&[
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1"),
        ("MCP_TOOL_RATE_WINDOW_MS", "1500"),
    ])
    .await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("windowed", "return 1;", json!({})).await?;
    client.structured("windowed", json!({})).await?;
    let refused = client.call("windowed", json!({})).await?;
    let wait = refused["structuredContent"]["retryAfterMs"]
        .as_u64()
        .unwrap_or_default();
    assert!((1..=1_500).contains(&wait), "{refused}");
    let took = eventually(Duration::from_secs(10), async || {
        client.structured("windowed", json!({})).await.map(drop)
    })
    .await;
    assert!(
        took >= Duration::from_millis(wait) - Duration::from_millis(50),
        "after {took:?}, not {wait} ms"
    );
    Ok(())
}

#[tokio::test]
async fn a_call_that_finds_every_slot_taken_is_refused_and_the_slot_comes_back_with_a_cancel() -> Result<()> {
    let server =
        AllInOne::start(&[("MCP_TOOL_MAX_CONCURRENCY", "1"), ("MCP_TOOL_QUEUE_WAIT_MS", "0")]).await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("endless", ENDLESS, json!({})).await?;
    client.create_tool("quick", "return 1;", json!({})).await?;
    let other = server.client(Era::Modern).await?;
    let mut running = JoinSet::new();
    running.spawn(async move { other.call("endless", json!({})).await });
    eventually(Duration::from_secs(10), async || {
        let metrics = client.structured("system.guard_metrics", json!({})).await?;
        ensure!(metrics["activeExecutions"] == 1, "{metrics}");
        Ok(())
    })
    .await;
    let refused = client.call("quick", json!({})).await?;
    let structured = &refused["structuredContent"];
    assert_eq!(
        (&structured["outcome"], &structured["reason"]),
        (&json!("never_started"), &json!("concurrency_limited")),
        "{refused}"
    );
    assert!(
        structured["retryAfterMs"].as_u64().is_some_and(|ms| ms >= 1),
        "{refused}"
    );
    let counted = scope(&client, "dynamic.exec.quick").await?;
    assert_eq!(
        (&counted["allowed"], &counted["rejectedConcurrency"]),
        (&json!(0), &json!(1)),
        "{counted}"
    );

    // That closes its response stream, which in the newest era cancels the call.
    running.abort_all();
    eventually(Duration::from_secs(20), async || {
        client.structured("quick", json!({})).await.map(drop)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_call_waits_for_a_slot_as_long_as_the_operator_says() -> Result<()> {
    let settings = [
        ("MCP_TOOL_MAX_CONCURRENCY", "1"),
        ("MCP_TOOL_QUEUE_WAIT_MS", "30000"),
    ];
    let server = AllInOne::start(&settings).await?;
    let client = server.client(Era::Modern).await?;
    client
        .create_tool(
            "brief",
            "await new Promise(done => setTimeout(done, 200)); return 1;",
            json!({}),
        )
        .await?;
    let calls = (0..3).map(|_| client.structured("brief", json!({})));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer?["outcome"], "ok");
    }
    Ok(())
}
