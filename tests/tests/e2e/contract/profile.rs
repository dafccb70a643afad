//! `MCP_PROFILE=mvp`: only what makes tools and calls them.

use anyhow::Result;
use serde_json::json;

use super::Wires;

const MVP: [(&str, &str); 1] = [("MCP_PROFILE", "mvp")];

#[tokio::test]
async fn the_mvp_profile_lists_only_what_makes_and_calls_tools() -> Result<()> {
    let wires = Wires::without_pool(&MVP).await?;
    let shown = [
        "dynamic.tool.call",
        "dynamic.tool.create",
        "dynamic.tool.delete",
        "dynamic.tool.enable",
        "dynamic.tool.get",
        "dynamic.tool.list",
        "dynamic.tool.update",
        "run_js_ephemeral",
        "system.health",
    ];
    for (_, client) in wires.each() {
        assert_eq!(client.tool_names().await?, shown, "{}", client.describe());
    }
    Ok(())
}

#[tokio::test]
async fn what_the_mvp_profile_hides_can_not_be_used_either() -> Result<()> {
    let wires = Wires::without_pool(&MVP).await?;
    let hidden = [
        (
            "tools/call",
            json!({"name": "dev.echo", "arguments": {"message": "a"}}),
            -32_602,
        ),
        (
            "tools/call",
            json!({"name": "system.runtime_config", "arguments": {}}),
            -32_602,
        ),
        (
            "tools/call",
            json!({"name": "system.audit.query", "arguments": {}}),
            -32_602,
        ),
        ("resources/list", json!({}), -32_601),
        (
            "resources/read",
            json!({"uri": "dynamic://service/meta"}),
            -32_601,
        ),
        ("prompts/list", json!({}), -32_601),
        (
            "prompts/get",
            json!({"name": "tool-call-checklist", "arguments": {"toolName": "abc"}}),
            -32_601,
        ),
    ];
    for (_, client) in wires.each() {
        for (method, params, code) in &hidden {
            let answer = client.ask_raw(method, params.clone()).await?;
            assert_eq!(
                answer["error"]["code"],
                *code,
                "{} {method} {params}: {answer}",
                client.describe()
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_the_mvp_profile_hides_stays_reserved() -> Result<()> {
    let wires = Wires::without_pool(&MVP).await?;
    for (_, client) in wires.each() {
        let tool = json!({"name": "dev.echo", "description": "Mine.", "code": "return 1;"});
        let text = client
            .refusal("dynamic.tool.create", json!({"tool": tool}))
            .await?;
        assert!(text.starts_with("name "), "{text}");
    }
    Ok(())
}
