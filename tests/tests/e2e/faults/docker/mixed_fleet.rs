//! Docker and isolates beside each other, on executors of their own and on one: what one of them loses, the other doesn't
//! notice.

use std::time::Duration;

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::proxy::Proxy;
use dynamic_mcp_tests::server::{AllInOne, ControlPlane, Executor, SMALL_POOL};
use serde_json::{Value, json};

use crate::faults::until_readyz;

const BOUND: Duration = Duration::from_secs(40);
const TYPE: &str = "return typeof process";

async fn make_one_of_each(client: &McpClient) -> Result<()> {
    for runtime in ["node", "isolate"] {
        client
            .create_tool(runtime, TYPE, json!({"runtime": runtime}))
            .await?;
    }
    Ok(())
}

async fn result(client: &McpClient, tool: &str) -> Result<Value> {
    Ok(client.structured(tool, json!({})).await?["result"].clone())
}

/// Of a call that is refused for want of an executor.
async fn refusal(client: &McpClient, tool: &str) -> Result<String> {
    let called = client.call(tool, json!({})).await?["structuredContent"].clone();
    assert_eq!(called["outcome"], "never_started", "{called}");
    Ok(called["error"].as_str().context("an error")?.to_owned())
}

#[tokio::test]
async fn a_call_goes_to_an_executor_that_has_its_runtime_and_to_no_other() -> Result<()> {
    let control = ControlPlane::start(&[]).await?;
    let containers = Executor::start(&control, &[&SMALL_POOL, &On::Docker.settings()[..1]].concat()).await?;
    let isolates = Executor::start(&control, &On::Isolate.settings()[..1]).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    make_one_of_each(&client).await?;
    for _ in 0..4 {
        assert_eq!(result(&client, "node").await?, "object");
        assert_eq!(result(&client, "isolate").await?, "undefined");
    }

    containers.stop().await;
    assert_eq!(result(&client, "isolate").await?, "undefined");
    let refused = refusal(&client, "node").await?;
    assert!(
        refused.contains("no executor offers runtime \"node\" (offered: isolate)"),
        "{refused}"
    );

    let containers = Executor::start(&control, &[&SMALL_POOL, &On::Docker.settings()[..1]].concat()).await?;
    isolates.stop().await;
    eventually(BOUND, async || {
        let called = client.structured("node", json!({})).await?;
        anyhow::ensure!(called["result"] == "object", "{called}");
        Ok(())
    })
    .await;
    let refused = refusal(&client, "isolate").await?;
    assert!(
        refused.contains("no executor offers runtime \"isolate\" (offered: node)"),
        "{refused}"
    );
    containers.stop().await;
    control.stop().await;
    Ok(())
}

#[tokio::test]
async fn isolates_go_on_while_the_engine_is_gone() -> Result<()> {
    let engine = Proxy::before_the_engine()?;
    let settings = [
        ("DOCKER_HOST", engine.address()),
        ("MCP_EXECUTION_ENGINE", "auto"),
    ];
    let server = AllInOne::start(&settings).await?;
    let client = server.client(Era::Modern).await?;
    make_one_of_each(&client).await?;
    assert_eq!(result(&client, "node").await?, "object");

    engine.cut();
    let took = until_readyz(&server.base_url, "degraded", Some("executors"), BOUND).await;
    measured(format!("/readyz said so after {took:?}"));
    assert_eq!(result(&client, "isolate").await?, "undefined");
    let refused = refusal(&client, "node").await?;
    measured(format!("a call for Node.js was refused: {refused}"));
    // An outage writes no other runtime into a tool for good.
    let created = client.create_tool("plain", TYPE, json!({})).await?;
    assert_eq!(created["tool"]["runsOn"], "node", "{created}");

    engine.flow();
    let took = until_readyz(&server.base_url, "ready", None, BOUND).await;
    measured(format!("ready again after {took:?}"));
    for (tool, expected) in [("node", "object"), ("plain", "object"), ("isolate", "undefined")] {
        assert_eq!(result(&client, tool).await?, expected);
    }
    server.stop().await;
    Ok(())
}
