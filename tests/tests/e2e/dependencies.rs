//! npm packages that are not what they say are refused; `docker` holds what becomes of those that are.

mod docker;

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

async fn refused(client: &McpClient, dependencies: Value) -> Result<String> {
    let tool =
        json!({"name": "refused", "description": "d", "code": "return 1;", "dependencies": dependencies});
    let refused = client.call("dynamic.tool.create", json!({"tool": tool})).await?;
    ensure!(refused["isError"] == true, "{dependencies} was taken: {refused}");
    Ok(refused["content"][0]["text"]
        .as_str()
        .context("a text")?
        .to_owned())
}

#[tokio::test]
async fn only_a_name_with_a_range_or_a_tag_is_a_dependency() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    for version in [
        "npm:is-number@1",
        "git+https://example.com/x.git",
        "git://example.com/x",
        "github:owner/name",
        "owner/name",
        "file:../x",
        "link:../x",
        "workspace:*",
        "/etc",
        "../x",
        "https://example.com/x.tgz",
        "",
        "1.0.0 --registry=http://evil",
        "1.0.0\n--ignore-scripts=false",
    ] {
        let why = refused(&client, json!([{"name": "ms", "version": version}])).await?;
        assert!(
            why.contains("ms") && why.contains("version"),
            "{version:?}: {why}"
        );
    }
    for name in [
        "../ms",
        "/ms",
        "-g",
        "ms@1",
        "npm:ms",
        "git+https://example.com/x.git",
        "MS",
        "",
        ".bin",
        "@scope",
        "node_modules",
        "--registry",
    ] {
        let why = refused(&client, json!([{"name": name, "version": "1"}])).await?;
        assert!(why.contains("name"), "{name:?}: {why}");
    }
    let many: Vec<_> = (0..33)
        .map(|n| json!({"name": format!("package-{n}"), "version": "1"}))
        .collect();
    let why = refused(&client, json!(many)).await?;
    assert!(why.contains("32") && why.contains("33"), "{why}");
    let twice = json!([{"name": "ms", "version": "1"}, {"name": "ms", "version": "2"}]);
    let why = refused(&client, twice).await?;
    assert!(why.contains("ms"), "{why}");
    server.stop().await;
    Ok(())
}
