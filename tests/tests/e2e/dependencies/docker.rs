//! npm packages under pressure and under attack: installed once however many ask, shared by what has the same lock.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::docker::volumes_with;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::server::AllInOne;
use futures::future::try_join_all;
use serde_json::json;

use super::refused;

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
