//! Clients that give up. What that means differs: in the newest era and over stdio the call ends with its client, in a
//! legacy session only `notifications/cancelled` ends it.

use std::time::Duration;

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::sandboxes::Sandboxes;
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::stdio::StdioServer;
use serde_json::json;

use super::{FOR_EVER, NO_POOL, active, until_active};

/// The failure table says one second; a busy machine gets more.
const BOUND: Duration = Duration::from_secs(10);

dynamic_mcp_tests::on_every_engine![
    a_closed_stream_of_the_newest_era_ends_its_call,
    a_closed_connection_without_a_stream_ends_its_call_as_well,
    a_legacy_session_cancels_by_its_notification,
    a_legacy_call_outlives_its_connection,
    a_closed_stdin_ends_its_calls_and_the_server,
    a_cancelled_call_over_stdio_ends_and_the_server_serves_on,
];

async fn start(on: On) -> Result<(AllInOne, Sandboxes)> {
    let server = AllInOne::start(&[&NO_POOL, on.settings()].concat()).await?;
    let sandboxes = Sandboxes::of(on, &server.process, server.state()).await?;
    Ok((server, sandboxes))
}

async fn start_stdio(on: On) -> Result<(StdioServer, Sandboxes)> {
    let mut server = StdioServer::start(&[&NO_POOL, on.settings()].concat()).await?;
    // So that it is known to be up.
    let first = server
        .call("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    anyhow::ensure!(first["structuredContent"]["result"] == 1, "{first}");
    let sandboxes = Sandboxes::of(on, &server.process, server.state()).await?;
    Ok((server, sandboxes))
}

async fn endless(server: &AllInOne, era: Era) -> Result<(McpClient, Running)> {
    let client = server.client(era).await?;
    client.create_tool("endless", FOR_EVER, json!({})).await?;
    let call = Running::start(&client, "endless", json!({})).await?;
    assert_eq!(active(&client).await?, 1);
    Ok((client, call))
}

async fn a_closed_stream_of_the_newest_era_ends_its_call(on: On) -> Result<()> {
    let (server, sandboxes) = start(on).await?;
    let (client, call) = endless(&server, Era::Modern).await?;
    drop(call);
    let (permit, sandbox) = tokio::join!(until_active(&client, 0, BOUND), sandboxes.until_running(0, BOUND));
    measured(format!(
        "closed stream: permit back after {permit:?}, sandbox gone after {sandbox:?}"
    ));
    server.stop().await;
    Ok(())
}

/// The same for an answer that would have been plain JSON: the client has asked for no progress, so there is no stream.
async fn a_closed_connection_without_a_stream_ends_its_call_as_well(on: On) -> Result<()> {
    let (server, sandboxes) = start(on).await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("endless", "for (;;);", json!({})).await?;
    {
        let call = client.call("endless", json!({}));
        tokio::select! {
            ended = call => anyhow::bail!("the call ended: {ended:?}"),
            _took = sandboxes.until_running(1, Duration::from_secs(10)) => {}
        }
    }
    let (permit, sandbox) = tokio::join!(until_active(&client, 0, BOUND), sandboxes.until_running(0, BOUND));
    measured(format!(
        "closed connection: permit back after {permit:?}, sandbox gone after {sandbox:?}"
    ));
    server.stop().await;
    Ok(())
}

async fn a_legacy_session_cancels_by_its_notification(on: On) -> Result<()> {
    let (server, sandboxes) = start(on).await?;
    let (client, call) = endless(&server, Era::Legacy).await?;
    let params = json!({"requestId": call.id(), "reason": "changed my mind"});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    client.send(&cancel).await?.error_for_status()?;
    let (permit, sandbox) = tokio::join!(until_active(&client, 0, BOUND), sandboxes.until_running(0, BOUND));
    measured(format!(
        "notifications/cancelled: permit back after {permit:?}, sandbox gone after {sandbox:?}"
    ));
    drop(call);
    server.stop().await;
    Ok(())
}

async fn a_legacy_call_outlives_its_connection(on: On) -> Result<()> {
    let (server, _sandboxes) = start(on).await?;
    let client = server.client(Era::Legacy).await?;
    let code = "ctx.progress(1); await new Promise((resolve) => setTimeout(resolve, 3000)); return 1;";
    client.create_tool("lasting", code, json!({})).await?;
    drop(Running::start(&client, "lasting", json!({})).await?);

    let took = until_active(&client, 0, Duration::from_secs(10)).await;
    measured(format!("it ran on for {took:?}"));
    assert!(
        took > Duration::from_secs(2),
        "it was ended {took:?} after its client left"
    );
    let metrics = client.structured("system.guard_metrics", json!({})).await?;
    let scope = metrics["scopes"].as_array().and_then(|scopes| {
        scopes
            .iter()
            .find(|scope| scope["scope"] == "dynamic.exec.lasting")
    });
    assert_eq!(
        scope.map(|scope| (&scope["allowed"], &scope["failed"])),
        Some((&json!(1), &json!(0))),
        "{metrics}"
    );
    server.stop().await;
    Ok(())
}

async fn a_closed_stdin_ends_its_calls_and_the_server(on: On) -> Result<()> {
    let (mut server, sandboxes) = start_stdio(on).await?;
    let code = json!({"code": "for (;;);", "timeoutMs": 60_000});
    server
        .send(
            "tools/call",
            json!({"name": "run_js_ephemeral", "arguments": code}),
        )
        .await?;
    sandboxes.until_running(1, Duration::from_secs(10)).await;
    server.hang_up();
    let took = sandboxes.until_running(0, BOUND).await;
    measured(format!("closed stdin: sandbox gone after {took:?}"));
    let status = server.process.ended(Duration::from_secs(10)).await?;
    assert!(
        status.success(),
        "it ended with {status}:\n{}",
        server.process.log()
    );
    assert!(server.state().containers().await?.is_empty());
    Ok(())
}

async fn a_cancelled_call_over_stdio_ends_and_the_server_serves_on(on: On) -> Result<()> {
    let (mut server, sandboxes) = start_stdio(on).await?;
    let code = json!({"code": "for (;;);", "timeoutMs": 60_000});
    let call = server
        .send(
            "tools/call",
            json!({"name": "run_js_ephemeral", "arguments": code}),
        )
        .await?;
    sandboxes.until_running(1, Duration::from_secs(10)).await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call}});
    server.write(&cancel).await?;
    let took = sandboxes.until_running(0, BOUND).await;
    measured(format!("cancelled over stdio: sandbox gone after {took:?}"));
    let ended = server
        .call("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(ended["structuredContent"]["result"], 1, "{ended}");
    server.hang_up();
    assert!(server.process.ended(Duration::from_secs(20)).await?.success());
    Ok(())
}
