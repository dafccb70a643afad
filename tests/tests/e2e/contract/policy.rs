//! A policy that became stricter stops the tools of before, with an error that says which part of it does.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

/// The same server, started anew with these settings besides.
async fn stricter(before: AllInOne, settings: &[(&str, &str)]) -> Result<(AllInOne, McpClient)> {
    let after = AllInOne::start_in(before.kill().await, settings).await?;
    let client = after.client(Era::Modern).await?;
    Ok((after, client))
}

async fn assert_stopped(client: &McpClient, name: &str, why: &str) -> Result<()> {
    let stopped = client.call(name, json!({"args": {}})).await?;
    let stopped = &stopped["structuredContent"];
    assert_eq!(
        (&stopped["outcome"], &stopped["reason"]),
        (&json!("never_started"), &json!("policy")),
        "{stopped}"
    );
    assert_eq!(stopped["retryAfterMs"], Value::Null, "{stopped}");
    assert!(stopped["error"].to_string().contains(why), "{stopped}");
    Ok(())
}

#[tokio::test]
async fn a_kept_sandbox_that_is_forbidden_by_now_is_neither_used_nor_written() -> Result<()> {
    let before = AllInOne::start(On::Isolate.settings()).await?;
    let client = before.client(Era::Modern).await?;
    let kept = json!({"isolation": "tool"});
    client.create_tool("kept", "return 1", kept.clone()).await?;
    assert_eq!(client.structured("kept", json!({})).await?["result"], 1);

    let forbidden = [("MCP_SANDBOX_ALLOW_TOOL_ISOLATION", "false")];
    let (_after, client) = stricter(before, &[On::Isolate.settings(), &forbidden].concat()).await?;
    let setting = "MCP_SANDBOX_ALLOW_TOOL_ISOLATION";
    assert_stopped(&client, "kept", setting).await?;
    let tool = json!({"name": "other", "description": "d", "code": "return 1", "isolation": "tool"});
    let refused = client
        .refusal("dynamic.tool.create", json!({"tool": tool}))
        .await?;
    assert!(refused.contains(setting), "{refused}");

    // It may still be switched off, and made one that is allowed.
    let off = json!({"name": "kept", "enabled": false});
    client.structured("dynamic.tool.enable", off).await?;
    let patch = json!({"name": "kept", "patch": {"isolation": "call", "enabled": true}});
    client.structured("dynamic.tool.update", patch).await?;
    assert_eq!(client.structured("kept", json!({})).await?["result"], 1);
    Ok(())
}

mod docker {
    use super::*;

    fn needs(name: &str, version: &str) -> Value {
        json!({"dependencies": [{"name": name, "version": version}], "timeoutMs": 60_000})
    }

    #[tokio::test]
    async fn a_version_that_is_blocked_by_now_stops_the_tools_that_need_it() -> Result<()> {
        let before = AllInOne::start(&[]).await?;
        let client = before.client(Era::Modern).await?;
        let code = "const { default: isOdd } = await import('is-odd'); return isOdd(3)";
        client.create_tool("odd", code, needs("is-odd", "3.0.1")).await?;
        assert_eq!(client.structured("odd", json!({})).await?["result"], true);

        // Two of its versions are around; is-odd needs one of version 6.
        let blocked = [("MCP_SANDBOX_BLOCKED_PACKAGES", "is-number@<7")];
        let (after, client) = stricter(before, &blocked).await?;
        assert_stopped(&client, "odd", "is-number@6.0.0 is blocked").await?;
        // What the block list does not mean is as before.
        let code = "const { default: isNumber } = await import('is-number'); return isNumber(3)";
        client
            .create_tool("number", code, needs("is-number", "^7.0.0"))
            .await?;
        assert_eq!(client.structured("number", json!({})).await?["result"], true);

        let allowed = [("MCP_SANDBOX_ALLOWED_PACKAGES", "is-odd")];
        let (_after, client) = stricter(after, &allowed).await?;
        assert_stopped(&client, "odd", "MCP_SANDBOX_ALLOWED_PACKAGES").await?;
        let tool = json!({"name": "third", "description": "d", "code": code});
        let tool = dynamic_mcp_tests::client::with(tool, needs("is-number", "^7.0.0"));
        let refused = client
            .refusal("dynamic.tool.create", json!({"tool": tool}))
            .await?;
        assert!(
            refused.contains("package is-number is not on the list"),
            "{refused}"
        );
        Ok(())
    }
}
