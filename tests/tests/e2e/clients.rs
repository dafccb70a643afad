//! Public MCP clients, as their users run them: each lists, makes a tool, is told of it, calls it, deletes it.

mod inspector;

use anyhow::{Context, Result};
use dynamic_mcp_tests::foreign::{node, output, python};
use dynamic_mcp_tests::process::binary;
use dynamic_mcp_tests::server::{AllInOne, SMALL_POOL};
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};
use tokio::process::Command;

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// What a client of that protocol version sees on its way.
fn whole_journey(version: &str) -> Value {
    json!({
        "version": version,
        "listedBefore": false,
        "created": 1,
        "toldOfCreation": true,
        "listed": true,
        "called": {"ok": true, "result": {"upper": "HELLO"}, "outcome": "ok", "revision": 1},
        "deleted": true,
        "toldOfDeletion": true,
        "listedAfter": false,
    })
}

async fn journey(command: Command) -> Result<Value> {
    let printed = output(command).await?;
    let last = printed.lines().last().context("it printed nothing")?;
    serde_json::from_str(last).with_context(|| printed.clone())
}

/// Over HTTP, with further arguments of the script.
async fn over_http(mut client: Command, further: &[&str]) -> Result<Value> {
    let server = AllInOne::start(&[]).await?;
    client
        .arg("http")
        .arg(format!("{}/mcp", server.base_url))
        .args(further);
    journey(client).await
}

/// Over stdio: the client starts the server itself, which has its settings from the client's environment.
async fn over_stdio(mut client: Command, further: &[&str]) -> Result<Value> {
    let state = State::new()?;
    client
        .arg("stdio")
        .arg(binary("dynamic-mcp")?)
        .args(further)
        .current_dir(state.path());
    client
        .env("MCP_STATE_DIR", state.path())
        .env("MCP_EXECUTOR_STATE_DIR", state.join("executor"));
    client.envs(SMALL_POOL);
    let saw = journey(client).await?;
    assert_eq!(
        state.containers().await?,
        Vec::<String>::new(),
        "the client has gone, and its server with it"
    );
    Ok(saw)
}

#[tokio::test]
async fn the_typescript_sdk_works_over_http() -> Result<()> {
    assert_eq!(over_http(node("sdk.mjs")?, &[]).await?, whole_journey(LEGACY));
    Ok(())
}

#[tokio::test]
async fn the_typescript_sdk_works_over_stdio() -> Result<()> {
    assert_eq!(over_stdio(node("sdk.mjs")?, &[]).await?, whole_journey(LEGACY));
    Ok(())
}

#[tokio::test]
async fn the_typescript_client_works_over_http_in_both_eras() -> Result<()> {
    assert_eq!(
        over_http(node("client.mjs")?, &["legacy"]).await?,
        whole_journey(LEGACY)
    );
    assert_eq!(
        over_http(node("client.mjs")?, &["auto"]).await?,
        whole_journey(MODERN)
    );
    Ok(())
}

#[tokio::test]
async fn the_typescript_client_works_over_stdio_in_both_eras() -> Result<()> {
    assert_eq!(
        over_stdio(node("client.mjs")?, &["legacy"]).await?,
        whole_journey(LEGACY)
    );
    assert_eq!(
        over_stdio(node("client.mjs")?, &["auto"]).await?,
        whole_journey(MODERN)
    );
    Ok(())
}

#[tokio::test]
async fn python_mcp_1_works_over_http() -> Result<()> {
    assert_eq!(
        over_http(python("TEST_PYTHON_MCP1", "mcp1.py")?, &[]).await?,
        whole_journey(LEGACY)
    );
    Ok(())
}

#[tokio::test]
async fn python_mcp_1_works_over_stdio() -> Result<()> {
    assert_eq!(
        over_stdio(python("TEST_PYTHON_MCP1", "mcp1.py")?, &[]).await?,
        whole_journey(LEGACY)
    );
    Ok(())
}

#[tokio::test]
async fn python_mcp_2_works_over_http_in_both_eras() -> Result<()> {
    assert_eq!(
        over_http(python("TEST_PYTHON_MCP2", "mcp2.py")?, &["legacy"]).await?,
        whole_journey(LEGACY)
    );
    assert_eq!(
        over_http(python("TEST_PYTHON_MCP2", "mcp2.py")?, &["auto"]).await?,
        whole_journey(MODERN)
    );
    Ok(())
}

#[tokio::test]
async fn python_mcp_2_works_over_stdio_in_both_eras() -> Result<()> {
    assert_eq!(
        over_stdio(python("TEST_PYTHON_MCP2", "mcp2.py")?, &["legacy"]).await?,
        whole_journey(LEGACY)
    );
    assert_eq!(
        over_stdio(python("TEST_PYTHON_MCP2", "mcp2.py")?, &["auto"]).await?,
        whole_journey(MODERN)
    );
    Ok(())
}
