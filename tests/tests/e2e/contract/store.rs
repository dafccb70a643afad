//! The file that tools are kept in.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::process::{Process, command};
use dynamic_mcp_tests::server::{AllInOne, NO_POOL};
use dynamic_mcp_tests::state::State;
use serde_json::json;

#[tokio::test]
async fn tools_and_their_revisions_survive_a_kill() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    client
        .create_tool("durable", "return 1;", json!({"title": "First"}))
        .await?;
    client
        .structured(
            "dynamic.tool.update",
            json!({"name": "durable", "patch": {"title": "Second"}}),
        )
        .await?;
    let before = client
        .structured("dynamic.tool.get", json!({"name": "durable"}))
        .await?;
    let server = AllInOne::start_in(server.kill().await, &NO_POOL).await?;
    let after = server
        .client(Era::Modern)
        .await?
        .structured("dynamic.tool.get", json!({"name": "durable"}))
        .await?;
    assert_eq!(after, before);
    Ok(())
}

#[tokio::test]
async fn a_json_store_of_the_nodejs_version_is_imported_and_its_tools_run() -> Result<()> {
    let state = State::new()?;
    let tool = |name: &str, enabled: bool| {
        json!({
            "name": name, "title": "Imported", "description": "From the Node.js version.", "image": "node:lts-slim",
            "timeoutMs": 5_000, "dependencies": [], "code": "return { upper: String(args.text).toUpperCase() };",
            "enabled": enabled, "createdAt": "2025-01-02T03:04:05.000Z", "updatedAt": "2025-02-02T03:04:05.000Z",
            "revision": 7,
        })
    };
    let store = json!({"version": 1, "tools": [tool("old.shout", true), tool("old.off", false)]});
    let path = state.path().join("tools.json");
    std::fs::write(&path, store.to_string())?;
    let server = AllInOne::start_in(state, &[("MCP_DYNAMIC_STORE", "tools.json")]).await?;
    let client = server.client(Era::Modern).await?;
    let record = client
        .structured("dynamic.tool.get", json!({"name": "old.shout"}))
        .await?;
    let tool = &record["tool"];
    assert_eq!(
        (&tool["title"], &tool["revision"], &tool["timeoutMs"]),
        (&json!("Imported"), &json!(7), &json!(5_000))
    );
    assert_eq!(tool["createdAt"], "2025-01-02T03:04:05.000Z");
    let names = client.tool_names().await?;
    assert!(
        names.contains(&"old.shout".to_owned()) && !names.contains(&"old.off".to_owned()),
        "{names:?}"
    );
    let answer = client
        .structured("old.shout", json!({"args": {"text": "hi"}}))
        .await?;
    assert_eq!(answer["result"], json!({"upper": "HI"}));
    assert_eq!(
        std::fs::read_to_string(server.state().join("tools.json"))?,
        store.to_string(),
        "it is left as it is"
    );
    Ok(())
}

#[tokio::test]
async fn a_json_store_with_a_faulty_tool_stops_the_start_and_names_it() -> Result<()> {
    let state = State::new()?;
    let store = json!({"tools": [{"name": "1bad", "description": "d", "code": "return 1;"}]});
    std::fs::write(state.path().join("tools.json"), store.to_string())?;
    let mut command = command("dynamic-mcp")?;
    command
        .current_dir(state.path())
        .envs(NO_POOL)
        .env("MCP_STATE_DIR", state.path());
    command
        .env("MCP_EXECUTOR_STATE_DIR", state.path().join("executor"))
        .env("MCP_DYNAMIC_STORE", "tools.json");
    let mut process = Process::spawn("dynamic-mcp", command)?;
    let status = process.ended(std::time::Duration::from_secs(20)).await?;
    assert!(!status.success());
    let log = process.log();
    assert!(log.contains("MCP_DYNAMIC_STORE") && log.contains("1bad"), "{log}");
    Ok(())
}
