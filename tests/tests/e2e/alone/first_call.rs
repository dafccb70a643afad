//! The first minute of somebody who has a build and nothing else: no Docker, no Postgres, no Redis, no setting.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::NO_DOCKER;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

/// The goal is one second; a debug build on a busy machine gets more.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn from_nothing_to_an_answer_without_docker() -> Result<()> {
    let began = Instant::now();
    let server = AllInOne::start(&[NO_DOCKER, ("MCP_EXECUTION_ENGINE", "auto")]).await?;
    let ready = began.elapsed();
    let client = server.client(Era::Legacy).await?;
    let connected = began.elapsed();
    client
        .create_tool("greet", "return `hello ${args.name}`;", json!({}))
        .await?;
    let created = began.elapsed();
    let answer = client
        .structured("greet", json!({"args": {"name": "world"}}))
        .await?;
    let answered = began.elapsed();
    assert_eq!(answer["result"], "hello world", "{answer}");
    measured(format!(
        "ready after {ready:?}, connected after {connected:?}, created after {created:?}, answered after {answered:?}"
    ));
    assert!(answered < BOUND, "{answered:?}");
    server.stop().await;
    Ok(())
}
