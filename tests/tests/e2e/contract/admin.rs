//! Who may write: the admin token, the read-only mode, the most tools.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::{AllInOne, NO_POOL};
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};

use super::Wires;

const TOKEN: &str = "correct-horse-battery-staple";

/// One call of each tool that takes the admin token, in an order in which all of them succeed.
fn operations(name: &str) -> [(&'static str, Value); 9] {
    [
        (
            "dynamic.tool.create",
            json!({"tool": {"name": name, "description": "Guarded.", "code": "return 1;"}}),
        ),
        ("dynamic.tool.list", json!({})),
        ("dynamic.tool.get", json!({"name": name})),
        (
            "dynamic.tool.update",
            json!({"name": name, "patch": {"title": "Guarded"}}),
        ),
        ("dynamic.tool.enable", json!({"name": name, "enabled": false})),
        ("dynamic.tool.history", json!({"name": name})),
        ("dynamic.tool.diff", json!({"name": name, "from": 1, "to": 2})),
        ("dynamic.tool.rollback", json!({"name": name, "to": 1})),
        ("dynamic.tool.delete", json!({"name": name})),
    ]
}

async fn is_forbidden(client: &McpClient, tool: &str, arguments: Value) -> Result<bool> {
    let answer = client.call(tool, arguments).await?;
    assert!(!answer.to_string().contains(TOKEN), "{answer}");
    Ok(answer["isError"] == true && answer["structuredContent"]["kind"] == "forbidden")
}

#[tokio::test]
async fn with_an_admin_token_only_its_bearer_manages_tools() -> Result<()> {
    let wires = Wires::without_pool(&[("MCP_ADMIN_TOKEN", TOKEN)]).await?;
    for (tag, client) in wires.each() {
        for (tool, arguments) in operations(&format!("guarded.{tag}")) {
            assert!(
                is_forbidden(client, tool, arguments.clone()).await?,
                "{tool} without a token"
            );
            let mut wrong = arguments.clone();
            wrong["adminToken"] = json!("correct-horse-battery-stapl");
            assert!(
                is_forbidden(client, tool, wrong).await?,
                "{tool} with a wrong token"
            );
            let mut right = arguments;
            right["adminToken"] = json!(TOKEN);
            client.structured(tool, right).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_admin_token_can_come_from_a_file_and_be_required() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), format!("{TOKEN}\n"))?;
    let path = file.path().display().to_string();
    let server = AllInOne::start_without_pool(&[
        ("MCP_ADMIN_TOKEN_FILE", &path),
        ("MCP_REQUIRE_ADMIN_TOKEN", "true"),
    ])
    .await?;
    let client = server.client(Era::Modern).await?;
    assert!(is_forbidden(&client, "dynamic.tool.list", json!({})).await?);
    client
        .structured("dynamic.tool.list", json!({"adminToken": TOKEN}))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_read_only_server_shows_its_tools_and_changes_none() -> Result<()> {
    let writable = AllInOne::start_in(State::new()?, &NO_POOL).await?;
    writable
        .client(Era::Modern)
        .await?
        .create_tool("kept", "return 1;", json!({}))
        .await?;
    let state = writable.kill().await;
    let server = AllInOne::start_in(
        state,
        &[&NO_POOL[..], &[("MCP_DYNAMIC_READ_ONLY", "true")]].concat(),
    )
    .await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        for (tool, mut arguments) in operations("kept") {
            if tool == "dynamic.tool.create" {
                arguments["tool"]["name"] = json!("another");
            }
            let answer = client.call(tool, arguments).await?;
            // There is no second revision to compare with.
            if tool == "dynamic.tool.diff" {
                continue;
            }
            let reads = matches!(
                tool,
                "dynamic.tool.list" | "dynamic.tool.get" | "dynamic.tool.history"
            );
            assert_eq!(answer["isError"] == true, !reads, "{tool}: {answer}");
            if !reads {
                assert_eq!(
                    answer["structuredContent"]["kind"], "read_only",
                    "{tool}: {answer}"
                );
            }
        }
        assert!(client.tool_names().await?.contains(&"kept".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn one_tool_more_than_the_most_allowed_is_refused_with_the_limit() -> Result<()> {
    let wires = Wires::without_pool(&[("MCP_DYNAMIC_MAX_TOOLS", "2")]).await?;
    for (tag, client) in wires.each() {
        for name in ["one", "two"] {
            client
                .create_tool(&format!("{name}.{tag}"), "return 1;", json!({}))
                .await?;
        }
        let third = json!({"tool": {"name": "third", "description": "Too many.", "code": "return 1;"}});
        let refused = client.call("dynamic.tool.create", third).await?;
        assert_eq!(refused["structuredContent"]["kind"], "too_many", "{refused}");
        assert_eq!(refused["structuredContent"]["limit"], 2, "{refused}");
        // The other era on the same server finds it empty again.
        for name in ["one", "two"] {
            client
                .structured("dynamic.tool.delete", json!({"name": format!("{name}.{tag}")}))
                .await?;
        }
    }
    Ok(())
}
