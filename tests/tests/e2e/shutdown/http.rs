//! SIGTERM to a server over HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::running::{Running, SAYS_SO};
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(30);

/// A tool that says that it runs, and ends after so many milliseconds.
async fn slow_tool(client: &McpClient, millis: u32) -> Result<()> {
    let code = format!("{SAYS_SO} await new Promise(done => setTimeout(done, {millis})); return 'finished';");
    client.create_tool("slow", &code, json!({})).await?;
    Ok(())
}

async fn is_draining(server: &AllInOne) {
    eventually(Duration::from_secs(20), async || {
        let log = server.process.log();
        ensure!(log.contains("shutting down"), "{log}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_running_call_finishes_and_the_process_ends_with_success_and_without_containers() -> Result<()> {
    for era in Era::ALL {
        let mut server = AllInOne::start(&[]).await?;
        let client = server.client(era).await?;
        slow_tool(&client, 1_500).await?;
        let running = Running::start(&client, "slow", json!({})).await?;
        server.process.signal("TERM").await;
        let answer = running.structured().await?;
        assert_eq!(
            (&answer["outcome"], &answer["result"]),
            (&json!("ok"), &json!("finished")),
            "{era:?} {answer}"
        );
        assert!(
            server.process.ended(GRACE).await?.success(),
            "{}",
            server.process.log()
        );
        assert_eq!(
            server.state().containers().await?,
            Vec::<String>::new(),
            "{era:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn while_it_drains_new_work_is_refused_and_the_probe_says_so() -> Result<()> {
    let mut server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    slow_tool(&client, 3_000).await?;
    let running = Running::start(&client, "slow", json!({})).await?;
    server.process.signal("TERM").await;
    is_draining(&server).await;
    let ready = reqwest::get(format!("{}/readyz", server.base_url)).await?;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await?["status"], "draining");
    let answer = client
        .call("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    let structured = &answer["structuredContent"];
    assert_eq!(
        (&structured["outcome"], &structured["reason"]),
        (&json!("never_started"), &json!("shutting_down")),
        "{answer}"
    );
    assert!(structured["retryAfterMs"].is_u64(), "{answer}");
    assert_eq!(running.structured().await?["outcome"], "ok");
    assert!(server.process.ended(GRACE).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_call_that_outlasts_the_grace_time_is_ended_and_its_client_is_told() -> Result<()> {
    let mut server = AllInOne::start(&[("MCP_SHUTDOWN_GRACE_SECONDS", "1")]).await?;
    let client = server.client(Era::Modern).await?;
    slow_tool(&client, 60_000).await?;
    let running = Running::start(&client, "slow", json!({})).await?;
    let asked = Instant::now();
    server.process.signal("TERM").await;
    assert_eq!(running.structured().await?["outcome"], "interrupted");
    server.process.ended(Duration::from_secs(15)).await?;
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(server.state().containers().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_running_calls_at_once() -> Result<()> {
    let mut server = AllInOne::start(&[("MCP_SHUTDOWN_GRACE_SECONDS", "60")]).await?;
    let client = server.client(Era::Modern).await?;
    slow_tool(&client, 60_000).await?;
    let running = Running::start(&client, "slow", json!({})).await?;
    server.process.signal("TERM").await;
    is_draining(&server).await;
    server.process.signal("TERM").await;
    drop(running);
    server.process.ended(Duration::from_secs(15)).await?;
    assert_eq!(server.state().containers().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn open_streams_do_not_hold_the_end_up() -> Result<()> {
    let mut server = AllInOne::start_without_pool(&[]).await?;
    let legacy = server.client(Era::Legacy).await?;
    let _stream = legacy.notifications().await?;
    let modern = server.client(Era::Modern).await?;
    let mut subscription = modern.listen().await?;
    subscription.next().await?.context("an acknowledgement")?;
    server.process.signal("TERM").await;
    assert!(
        server.process.ended(Duration::from_secs(10)).await?.success(),
        "{}",
        server.process.log()
    );
    Ok(())
}

#[tokio::test]
async fn the_audit_of_the_last_call_is_written_before_the_end() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let answer = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(answer["outcome"], "ok");
    let state = server.state().clone();
    server.stop().await;
    let audit = std::fs::read_to_string(state.join("audit.jsonl"))?;
    let lines: Vec<Value> = audit
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let closed = |line: &&Value| line["phase"] == "closed" && line["action"] == "run_js_ephemeral";
    assert_eq!(lines.iter().filter(closed).count(), 1, "{audit}");
    Ok(())
}
