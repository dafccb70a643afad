//! The end of a server that a client started over stdio.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::running::SAYS_SO;
use dynamic_mcp_tests::stdio::StdioServer;
use serde_json::json;

const ENDLESS: &str = "await new Promise(() => setInterval(() => {}, 1000));";

/// Calls a tool that runs for ever, and returns when it does.
async fn run_endless(server: &mut StdioServer) -> Result<()> {
    let tool = json!({"name": "endless", "description": "d", "code": format!("{SAYS_SO} {ENDLESS}")});
    server.call("dynamic.tool.create", json!({"tool": tool})).await?;
    let call = json!({"name": "endless", "arguments": {}, "_meta": {"progressToken": "running"}});
    server.send("tools/call", call).await?;
    while let Some(message) = server.read().await? {
        if message["method"] == "notifications/progress" {
            return Ok(());
        }
    }
    anyhow::bail!("stdout ended")
}

#[tokio::test]
async fn a_closed_stdin_ends_the_process_with_success_and_without_containers() -> Result<()> {
    let mut server = StdioServer::start(&[]).await?;
    let answer = server
        .call("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(answer["structuredContent"]["outcome"], "ok", "{answer}");
    server.hang_up();
    assert!(
        server.process.ended(Duration::from_secs(20)).await?.success(),
        "{}",
        server.process.log()
    );
    assert_eq!(server.state().containers().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_call_takes_its_container_with_it() -> Result<()> {
    let mut server = StdioServer::start(&[]).await?;
    run_endless(&mut server).await?;
    server.hang_up();
    server.process.ended(Duration::from_secs(20)).await?;
    eventually(Duration::from_secs(20), async || {
        let left = server.state().containers().await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_it_as_a_closed_stdin_does() -> Result<()> {
    let mut server = StdioServer::start(&[]).await?;
    server
        .call("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    server.process.signal("TERM").await;
    assert!(
        server.process.ended(Duration::from_secs(20)).await?.success(),
        "{}",
        server.process.log()
    );
    assert_eq!(server.state().containers().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn stdout_holds_nothing_but_mcp_even_with_every_log_line_on() -> Result<()> {
    let mut server =
        StdioServer::start(&[("MCP_LOG", "trace"), ("MCP_NO_SUCH_SETTING", "warned about")]).await?;
    let code = "console.log('printed'); console.error('printed'); globalThis.process?.stdout.write('raw'); return 1;";
    server.call("run_js_ephemeral", json!({"code": code})).await?;
    server.write_line("this is no JSON").await?;
    server
        .call("run_js_ephemeral", json!({"code": "throw new Error('x');"}))
        .await?;
    server.process.signal("TERM").await;
    // Each line is checked as it is read.
    while let Some(_message) = server.read().await.context("on the way out")? {}
    assert!(
        server.process.log().contains("MCP_NO_SUCH_SETTING"),
        "the logs were on"
    );
    Ok(())
}
