//! What the logs can never say, whatever level they are on.

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::{AllInOne, ControlPlane, Executor};
use serde_json::json;

const MARKER: &str = "must-not-be-logged";

/// Sends the marker in every place that users write to or read from.
async fn use_it(client: &McpClient) -> Result<()> {
    let name = format!("quiet.{}", client.era().version());
    let code = format!(
        "console.log('{MARKER}'); console.error('{MARKER}');
         if (args.fail) throw new Error('{MARKER}' + args.text);
         return {{ echoed: args.text, own: '{MARKER}' }};"
    );
    let schema =
        json!({"type": "object", "properties": {"text": {"type": "string"}, "fail": {"type": "boolean"}}});
    let tool = json!({"name": name, "description": "Is quiet.", "code": code, "inputSchema": schema});
    client
        .structured("dynamic.tool.create", json!({"adminToken": MARKER, "tool": tool}))
        .await?;
    let answer = client.structured(&name, json!({"text": MARKER})).await?;
    ensure!(answer["result"]["echoed"] == MARKER, "{answer}");
    client
        .refusal(&name, json!({"text": MARKER, "fail": true}))
        .await?;
    client.refusal(&name, json!({"text": [MARKER]})).await?;
    client
        .structured(
            "dynamic.tool.call",
            json!({"name": name, "args": {"text": MARKER}}),
        )
        .await?;
    let run = json!({"code": format!("return args.text + '{MARKER}';"), "args": {"text": MARKER}});
    client.structured("run_js_ephemeral", run).await?;
    client
        .refusal(
            "run_js_ephemeral",
            json!({"code": format!("this is no JavaScript '{MARKER}")}),
        )
        .await?;
    client
        .refusal(
            "dynamic.tool.create",
            json!({"adminToken": format!("{MARKER}-wrong"), "tool": tool}),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn code_arguments_results_output_and_tokens_are_in_no_log_line_at_trace() -> Result<()> {
    let settings = [("MCP_LOG", "trace"), ("MCP_ADMIN_TOKEN", MARKER)];
    let server = AllInOne::start(&settings).await?;
    for era in Era::ALL {
        use_it(&server.client(era).await?).await?;
    }
    let log = server.process.log();
    assert!(log.contains("INFO"), "the logs were on");
    let lines: Vec<_> = log.lines().filter(|line| line.contains(MARKER)).collect();
    assert!(
        lines.is_empty(),
        "{} lines, the first: {:?}",
        lines.len(),
        lines.first()
    );
    Ok(())
}

#[tokio::test]
async fn neither_plane_logs_them_when_they_are_two_processes() -> Result<()> {
    let control = ControlPlane::start(&[("MCP_LOG", "trace"), ("MCP_ADMIN_TOKEN", MARKER)]).await?;
    let pool = [
        ("MCP_LOG", "trace"),
        ("MCP_SANDBOX_POOL_MIN", "1"),
        ("MCP_SANDBOX_POOL_MAX", "2"),
    ];
    let executor = Executor::start(&control, &pool).await?;
    control.ready().await?;
    use_it(&control.client(Era::Modern).await?).await?;
    for (plane, log) in [
        ("control plane", control.process.log()),
        ("executor", executor.process.log()),
    ] {
        assert!(log.contains("INFO"), "{plane}: the logs were on");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(MARKER)).collect();
        assert!(
            lines.is_empty(),
            "{plane}: {} lines, the first: {:?}",
            lines.len(),
            lines.first()
        );
    }
    Ok(())
}
