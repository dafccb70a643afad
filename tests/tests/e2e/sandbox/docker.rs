//! A session is a container: all of these need one.

mod replicas;
mod session;
mod streams;

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::McpClient;
use serde_json::{Value, json};

async fn open(client: &McpClient) -> Result<String> {
    let opened = client.structured("sandbox.initialize", json!({})).await?;
    let id = opened["sessionId"].as_str();
    Ok(id.with_context(|| format!("no session: {opened}"))?.to_owned())
}

/// What a call says that is structured, whether it went well or not.
async fn said(client: &McpClient, tool: &str, arguments: Value) -> Result<Value> {
    Ok(client.call(tool, arguments).await?["structuredContent"].clone())
}

async fn exec(client: &McpClient, id: &str, commands: &[&str]) -> Result<Value> {
    said(
        client,
        "sandbox.exec",
        json!({"sessionId": id, "commands": commands}),
    )
    .await
}
