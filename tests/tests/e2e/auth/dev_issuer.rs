//! Tokens in one minute: the development-only issuer, a server that takes its tokens, a token.

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::process::command;
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::test]
async fn what_it_prints_is_all_that_is_needed() -> Result<()> {
    let state = State::new()?;
    let mut issuer = command("dynamic-mcp")?;
    issuer
        .env("MCP_STATE_DIR", state.path())
        .args(["dev-issuer", "--bind", "127.0.0.1:0"]);
    let mut issuer = issuer.stdout(std::process::Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(issuer.stdout.take().context("its stdout")?).lines();
    lines.next_line().await?.context("a warning")?;
    let printed = lines.next_line().await?.context("the settings")?;
    let settings: Vec<_> = printed
        .split(' ')
        .filter_map(|word| word.split_once('='))
        .collect();
    let url = settings
        .iter()
        .find(|(name, _)| *name == "MCP_AUTH_ISSUER")
        .context("an issuer")?
        .1;

    let server = AllInOne::start(&[&settings[..], On::Isolate.settings()].concat()).await?;
    let mut token = command("dynamic-mcp")?;
    token
        .env("MCP_STATE_DIR", state.path())
        .args(["token", "--issuer", url, "--tenant", "acme"]);
    let token = String::from_utf8(token.output().await?.stdout)?;
    let client = McpClient::connect_as(&server.base_url, Era::Legacy, Some(token.trim())).await?;
    client.create_tool("mine", "return 'hello'", json!({})).await?;
    assert_eq!(client.structured("mine", json!({})).await?["result"], "hello");
    issuer.kill().await?;
    Ok(())
}

#[tokio::test]
async fn it_serves_its_own_machine_alone() -> Result<()> {
    let state = State::new()?;
    let mut issuer = command("dynamic-mcp")?;
    issuer
        .env("MCP_STATE_DIR", state.path())
        .args(["dev-issuer", "--bind", "0.0.0.0:0"]);
    let refused = issuer.output().await?;
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("serves this machine alone"), "{said}");
    Ok(())
}
