//! Kill -9 of the control plane.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::docker::running_containers_of;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use dynamic_mcp_tests::state::State;
use serde_json::json;

use super::WITHOUT_POOL;
use crate::faults::{FOR_EVER, SOON, until_made, until_running};

/// Where executors find the next one.
fn same_port(control: &ControlPlane) -> Result<String> {
    Ok(control
        .fleet_url
        .strip_prefix("http://")
        .context("an address")?
        .to_owned())
}

async fn successor(state: State, bind: &str) -> Result<ControlPlane> {
    let control = ControlPlane::start_in(
        state,
        &[&[("MCP_FLEET_BIND", bind)], On::Docker.settings()].concat(),
    )
    .await?;
    let began = Instant::now();
    control.ready().await?;
    measured(format!(
        "the executor was back {:?} after the successor's start",
        began.elapsed()
    ));
    Ok(control)
}

#[tokio::test]
async fn its_running_calls_end_with_their_containers_and_a_successor_gets_the_executor() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let bind = same_port(&control)?;
    let executor = Executor::start(&control, &WITHOUT_POOL).await?;
    let id = executor.state().executor()?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("endless", FOR_EVER, json!({})).await?;
    let call = Running::start(&client, "endless", json!({})).await?;
    assert_eq!(running_containers_of(&id).await?.len(), 1);

    let state = control.kill().await;
    let took = until_running(&id, 0, SOON).await;
    measured(format!("the container was gone {took:?} after the kill"));
    assert!(
        call.result().await.is_err(),
        "somebody answered for a dead server"
    );

    let control = successor(state, &bind).await?;
    let client = control.client(Era::Modern).await?;
    let ended = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(ended["result"], 1, "{ended}");
    assert!(
        client.tool_names().await?.contains(&"endless".to_owned()),
        "the tool is gone"
    );
    executor.stop().await;
    control.stop().await;
    Ok(())
}

/// It is held still while the sandbox gets ready, and then killed: the start is never written.
#[tokio::test]
async fn killed_before_the_start_nothing_of_the_call_is_left() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let bind = same_port(&control)?;
    let executor = Executor::start(&control, &WITHOUT_POOL).await?;
    let id = executor.state().executor()?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("quick", "return 1;", json!({})).await?;

    let call = client.call("quick", json!({}));
    let kill = async {
        until_made(&id).await;
        control.process.signal("STOP").await;
        until_running(&id, 1, SOON).await;
        control.kill().await
    };
    let (answer, state) = tokio::join!(call, kill);
    assert!(answer.is_err(), "somebody answered for a dead server: {answer:?}");

    // An unused sandbox may be kept for the next call, so what counts is that the next call is served and leaves none.
    let control = successor(state, &bind).await?;
    let client = control.client(Era::Modern).await?;
    assert_eq!(client.structured("quick", json!({})).await?["result"], 1);
    until_running(&id, 0, Duration::from_secs(10)).await;
    executor.stop().await;
    control.stop().await;
    Ok(())
}

/// The code has ended and the executor has said so, to nobody.
#[tokio::test]
async fn killed_while_finishing_the_executor_takes_the_next_call() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let bind = same_port(&control)?;
    let executor = Executor::start(
        &control,
        &[&WITHOUT_POOL[..], &[("MCP_SANDBOX_SLOTS", "1")]].concat(),
    )
    .await?;
    let id = executor.state().executor()?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    let code = "ctx.progress(1); await new Promise((resolve) => setTimeout(resolve, 200)); return 1;";
    client.create_tool("unheard", code, json!({})).await?;
    let call = Running::start(&client, "unheard", json!({})).await?;

    control.process.signal("STOP").await;
    until_running(&id, 0, SOON).await;
    let state = control.kill().await;
    assert!(
        call.result().await.is_err(),
        "somebody answered for a dead server"
    );

    let control = successor(state, &bind).await?;
    let client = control.client(Era::Modern).await?;
    assert_eq!(client.structured("unheard", json!({})).await?["result"], 1);
    executor.stop().await;
    control.stop().await;
    Ok(())
}
