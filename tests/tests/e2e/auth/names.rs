//! Names of tools that are to be taken for others.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use serde_json::json;

use super::Scene;

#[tokio::test]
async fn no_tool_gets_a_name_that_looks_like_a_built_in_ones() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let before = client.tool_names().await?;
    for name in [
        "dynamic.tool.create",
        "Dynamic.Tool.Create",
        "dynamic.tool.create.v2",
        "dynarnic.tool.create",
        "dynam1c.tool.create",
        "dynamic_tool_create",
        "dynamic-tool-create",
        "system.hea1th",
        "SYSTEM.HEALTH",
        "systern.health",
        "dev.ech0",
        "DEV_ECHO",
        "run_js_ephemera1",
        "run-js-ephemeral",
        "tirne.now",
        "time.novv",
        // Letters of other alphabets, widths and directions, and letters that are not seen.
        "d\u{0435}v.echo",
        "dev.ech\u{043e}",
        "dev.echo\u{200b}",
        "dev.\u{200d}echo",
        "\u{feff}dev.echo",
        "\u{202e}ohce.ved",
        "\u{ff44}ev.echo",
        "dev\u{2024}echo",
        "dev.echo\u{301}",
        // Whitespace and control characters.
        " dev.echo",
        "dev.echo ",
        "dev.echo\n",
        "dev.echo\t",
        "dev.\u{a0}echo",
        "dev.echo\0",
        "dev.echo\u{7f}",
        "dev.echo/../x",
    ] {
        let tool = json!({"name": name, "description": "d", "code": "return 'mine'"});
        let said = client
            .refusal("dynamic.tool.create", json!({"tool": tool}))
            .await?;
        assert!(said.starts_with("name "), "{name:?}: {said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    }
    assert_eq!(client.tool_names().await?, before);
    assert_eq!(
        client.structured("dev.echo", json!({"message": "own"})).await?["message"],
        "own"
    );
    scene.neighbour_is_served().await
}

#[tokio::test]
async fn a_tool_is_called_by_its_own_name_and_by_no_other_spelling_of_it() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Legacy, json!({})).await?;
    client.create_tool("pay.out", "return 'paid'", json!({})).await?;
    for name in [
        "Pay.Out",
        "PAY.OUT",
        "pay.out ",
        " pay.out",
        "pay.out\n",
        "pay.out\0",
        "pay.out\u{200b}",
        "p\u{0430}y.out",
        "pay_out",
        "./pay.out",
        "pay%2eout",
        "",
    ] {
        let answer = client.ask_raw("tools/call", json!({"name": name})).await?;
        assert_eq!(answer["error"]["code"], -32_602, "{name:?}: {answer}");
        let refused = client.call("dynamic.tool.call", json!({"name": name})).await?;
        assert_eq!(refused["isError"], true, "{name:?}: {refused}");
    }
    assert_eq!(client.structured("pay.out", json!({})).await?["result"], "paid");
    scene.neighbour_is_served().await
}
