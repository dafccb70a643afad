//! npm packages under pressure and under attack: installed once however many ask, shared by what has the same lock, and
//! refused when they are not what they say.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::docker::volumes_with;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::server::AllInOne;
use futures::future::try_join_all;
use serde_json::{Value, json};

const AT_ONCE: usize = 20;
const SETTINGS: [(&str, &str); 2] = [("MCP_TOOL_MAX_CONCURRENCY", "32"), ("MCP_SANDBOX_SLOTS", "32")];

async fn volumes(server: &AllInOne) -> Result<BTreeSet<String>> {
    let id = server.state().executor()?;
    Ok(volumes_with(&format!("executor={id}"))
        .await?
        .into_iter()
        .collect())
}

fn installs(server: &AllInOne) -> usize {
    let log = server.process.log();
    log.lines()
        .filter(|line| line.contains("dependencies are installed"))
        .count()
}

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
async fn twenty_calls_that_race_for_a_package_install_it_once() -> Result<()> {
    let server = AllInOne::start(&SETTINGS).await?;
    let client = server.client(Era::Modern).await?;
    let code = "const { default: isOdd } = await import('is-odd'); return isOdd(args.n);";
    let dependencies = json!([{"name": "is-odd", "version": "3.0.1"}]);
    client
        .create_tool(
            "odd",
            code,
            json!({"dependencies": dependencies, "timeoutMs": 60_000}),
        )
        .await?;
    let before = volumes(&server).await?;

    let began = Instant::now();
    let call = async |n: usize| {
        let answer = client.structured("odd", json!({"args": {"n": n}})).await?;
        ensure!(answer["result"] == (n % 2 == 1), "{n}: {answer}");
        Ok(())
    };
    try_join_all((0..AT_ONCE).map(call)).await?;
    measured(format!(
        "{AT_ONCE} first calls at once, one install: {:?}",
        began.elapsed()
    ));
    assert_eq!(installs(&server), 1, "{}", server.process.log());
    assert!(volumes(&server).await?.difference(&before).count() <= 1);

    // Another tool with the same packages has the same lock: nothing is left to install.
    client
        .create_tool("odder", code, json!({"dependencies": dependencies}))
        .await?;
    assert_eq!(
        client.structured("odder", json!({"args": {"n": 3}})).await?["result"],
        true
    );
    assert_eq!(installs(&server), 1, "{}", server.process.log());
    assert!(volumes(&server).await?.difference(&before).count() <= 1);
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_installed_is_read_only_and_offline() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let code = "const { writeFileSync, readdirSync } = await import('node:fs'); \
        const { default: isNumber } = await import('is-number'); \
        const write = (file) => { try { writeFileSync(file, 'x'); return 'written'; } catch (error) { return error.code; } }; \
        const fetched = await fetch('https://example.com').then(() => 'reached', () => 'offline'); \
        return { two: isNumber(2), fetched, write: write('/deps/node_modules/is-number/index.js'), add: write('/deps/x') };";
    let dependencies = json!([{"name": "is-number", "version": "^7.0.0"}]);
    let run = json!({"code": code, "dependencies": dependencies, "timeoutMs": 60_000});
    let ended = client.structured("run_js_ephemeral", run).await?;
    let expected = json!({"two": true, "fetched": "offline", "write": "EROFS", "add": "EROFS"});
    assert_eq!(ended["result"], expected, "{ended}");
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_blocked_package_is_refused_at_any_depth_and_by_name() -> Result<()> {
    // `is-odd` needs `is-number`.
    let server = AllInOne::start(&[("MCP_SANDBOX_BLOCKED_PACKAGES", "is-number,child_process")]).await?;
    let client = server.client(Era::Modern).await?;
    for name in ["is-number", "child_process", "is-odd"] {
        let why = refused(&client, json!([{"name": name, "version": "*"}])).await?;
        measured(&why);
        let blocked = if name == "is-odd" { "is-number" } else { name };
        assert!(why.contains(blocked) && why.contains("block"), "{name}: {why}");
    }
    assert_eq!(
        client
            .tool_names()
            .await?
            .iter()
            .filter(|name| *name == "refused")
            .count(),
        0
    );
    server.stop().await;
    Ok(())
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
