//! npm packages of a tool: locked when it is written, there when it runs.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

#[tokio::test]
async fn a_tool_imports_the_package_it_depends_on_and_has_no_network_itself() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let code = "const { default: ms } = await import('ms');
        const reached = await fetch('http://1.1.1.1', { signal: AbortSignal.timeout(2000) }).then(() => true, () => false);
        return { hour: ms('1h'), reached };";
    let dependencies = json!([{"name": "ms", "version": "^2.1.0"}]);
    let created = client
        .create_tool("hours", code, json!({"dependencies": dependencies}))
        .await?;
    assert_eq!(created["tool"]["dependencies"], dependencies);
    let answer = client.structured("hours", json!({})).await?;
    assert_eq!(answer["result"], json!({"hour": 3_600_000, "reached": false}));
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_run_can_have_dependencies_too() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Legacy).await?;
    let run = json!({
        "code": "const { default: ms } = await import('ms'); return ms('2m');",
        "dependencies": [{"name": "ms", "version": "2"}]
    });
    assert_eq!(
        client.structured("run_js_ephemeral", run).await?["result"],
        120_000
    );
    Ok(())
}

#[tokio::test]
async fn a_package_that_does_not_exist_is_refused_when_the_tool_is_written() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let dependencies = json!([{"name": "ms", "version": "99999"}]);
    let tool = json!({"name": "lost", "description": "d", "code": "return 1;", "dependencies": dependencies});
    let refused = client.call("dynamic.tool.create", json!({"tool": tool})).await?;
    assert_eq!(refused["structuredContent"]["kind"], "dependencies", "{refused}");
    assert!(
        refused["content"][0]["text"].to_string().contains("ms"),
        "{refused}"
    );
    assert!(!client.tool_names().await?.contains(&"lost".to_owned()));
    Ok(())
}
