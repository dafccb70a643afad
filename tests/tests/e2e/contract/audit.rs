//! The audit file: what was done, by whom, with what outcome, and never with what.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::database::Schema;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::process::command;
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// In code, arguments, results and tokens.
const MARKER: &str = "must-not-be-written";

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// What `dynamic-mcp audit verify --json` says of a server's state, and its exit code.
async fn verify(state: &Path, settings: &[(&str, &str)]) -> Result<(Option<i32>, Value)> {
    let mut command = command("dynamic-mcp")?;
    command
        .current_dir(state)
        .env("MCP_STATE_DIR", state)
        .envs(settings.iter().copied())
        .args(["audit", "verify", "--json"]);
    let output = command.output().await?;
    let said = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), said))
}

/// Calls and writes that are refused until it is told to stop. The server is killed under the last of them.
async fn traffic(client: &McpClient, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let _ended = client.call("quick", json!({"args": {}})).await;
        for _ in 0..10 {
            let _refused = client
                .call("dynamic.tool.delete", json!({"name": "missing.tool"}))
                .await;
        }
    }
}

/// Two calls that don't end, beside as many short ones as eight clients make; then the server is killed.
async fn killed_under_traffic(server: AllInOne) -> Result<State> {
    let client = server.client(Era::Modern).await?;
    let isolate = json!({"runtime": "isolate"});
    client.create_tool("quick", "return 1;", isolate.clone()).await?;
    let forever = "const end = Date.now() + 60000; while (Date.now() < end) {} return 1;";
    let slow = json!({"runtime": "isolate", "timeoutMs": 60_000});
    client.create_tool("forever", forever, slow).await?;
    let stop = CancellationToken::new();
    let endless = (0..2).map(|_| client.call("forever", json!({"args": {}})));
    let short = (0..8).map(|_| traffic(&client, &stop));
    let path = server.state().join("audit.jsonl");
    let killed = async {
        // So many that some of them are in the other store, and others not yet.
        eventually(Duration::from_secs(50), async || {
            let lines = lines(&path)?;
            let runs = |line: &&Value| {
                line["phase"] == "opened" && line["action"] == "dynamic.exec" && line["target"] == "forever"
            };
            let count = lines.iter().filter(runs).count();
            anyhow::ensure!(count == 2 && lines.len() > 1_000, "{count} of {}", lines.len());
            Ok(())
        })
        .await;
        let state = server.kill().await;
        stop.cancel();
        state
    };
    let (state, _short, _endless) = tokio::join!(
        killed,
        futures::future::join_all(short),
        futures::future::join_all(endless)
    );
    Ok(state)
}

/// The targets of the entries that were open in the only chain that was not closed.
fn open_targets(store: &Value) -> Vec<&str> {
    assert_eq!(store["unclosed"].as_array().map(Vec::len), Some(1), "{store}");
    let open = store["unclosed"][0]["open"].as_array().into_iter().flatten();
    open.filter_map(|entry| entry["target"].as_str()).collect()
}

/// The opening and the closing line of the only entry with that action and target, once both are written.
async fn entry(path: &Path, action: &str, target: Option<&str>) -> Result<(Value, Value)> {
    let entry = || {
        let lines = lines(path)?;
        let of = |phase: &str| {
            let wanted = |line: &&Value| {
                line["phase"] == phase && line["action"] == action && line["target"].as_str() == target
            };
            lines.iter().find(wanted).cloned()
        };
        let opened = of("opened").context("no opening line")?;
        anyhow::Ok((opened, of("closed").context("no closing line")?))
    };
    eventually(Duration::from_secs(20), async || entry().map(drop)).await;
    let found = entry()?;
    assert_eq!(found.0["id"], found.1["id"]);
    Ok(found)
}

#[tokio::test]
async fn every_write_and_call_is_opened_and_closed_with_what_came_of_it_and_without_its_contents()
-> Result<()> {
    let server = AllInOne::start(&[
        ("MCP_ADMIN_TOKEN", MARKER),
        ("MCP_AUDIT_FILE", "trail/audit.jsonl"),
    ])
    .await?;
    let path = server.state().join("trail/audit.jsonl");
    let client = server.client(Era::Modern).await?;
    let code =
        format!("if (args.fail) throw new Error('{MARKER}'); console.log('{MARKER}'); return '{MARKER}';");
    let tool = json!({"name": "audited", "description": "Is audited.", "code": code, "runtime": "isolate"});
    client
        .structured("dynamic.tool.create", json!({"adminToken": MARKER, "tool": tool}))
        .await?;
    client
        .structured("audited", json!({"args": {"text": MARKER}}))
        .await?;
    client
        .structured("run_js_ephemeral", json!({"code": format!("return '{MARKER}';")}))
        .await?;
    let update = json!({"adminToken": MARKER, "name": "audited", "patch": {"code": code, "title": MARKER}, "expectedRevision": 1});
    client.structured("dynamic.tool.update", update).await?;
    client
        .refusal(
            "dynamic.tool.delete",
            json!({"adminToken": "wrong", "name": "audited"}),
        )
        .await?;

    let (opened, closed) = entry(&path, "dynamic.tool.create", Some("audited")).await?;
    assert_eq!(
        (&opened["tenant"], &closed["verdict"]),
        (&json!("default"), &json!("done")),
        "{opened} {closed}"
    );
    assert!(
        opened["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')),
        "{opened}"
    );
    assert!(
        opened["requestId"].as_str().is_some_and(|id| !id.is_empty()),
        "{opened}"
    );

    let (opened, closed) = entry(&path, "dynamic.exec", Some("audited")).await?;
    assert_eq!(
        (&opened["revision"], &closed["verdict"], &closed["outcome"]),
        (&json!(1), &json!("ran"), &json!("ok"))
    );
    assert!(
        closed["durationMs"].as_f64().is_some_and(|ms| ms > 0.0),
        "{closed}"
    );

    assert_eq!(closed["details"]["runtime"], "isolate", "{closed}");

    let (_, closed) = entry(&path, "run_js_ephemeral", None).await?;
    assert_eq!(
        (&closed["verdict"], &closed["outcome"]),
        (&json!("ran"), &json!("ok"))
    );

    let (opened, closed) = entry(&path, "dynamic.tool.update", Some("audited")).await?;
    assert_eq!(
        opened["details"],
        json!({"expectedRevision": 1, "fields": ["title", "code"]})
    );
    assert_eq!(closed["verdict"], "done");

    let (_, closed) = entry(&path, "dynamic.tool.delete", Some("audited")).await?;
    assert_eq!(
        (&closed["verdict"], &closed["reason"]),
        (&json!("refused"), &json!("forbidden"))
    );

    assert!(!std::fs::read_to_string(&path)?.contains(MARKER));
    Ok(())
}

#[tokio::test]
async fn an_entry_carries_the_request_id_of_its_request() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let tool = json!({"name": "traced", "description": "d", "code": "return 1;"});
    let message = client.request(
        "tools/call",
        json!({"name": "dynamic.tool.create", "arguments": {"tool": tool}}),
    );
    let response = client
        .prepare(&message)
        .header("x-request-id", "the-request-of-the-test")
        .send()
        .await?;
    assert_eq!(response.headers()["x-request-id"], "the-request-of-the-test");
    let (opened, _) = entry(
        &server.state().join("audit.jsonl"),
        "dynamic.tool.create",
        Some("traced"),
    )
    .await?;
    assert_eq!(opened["requestId"], "the-request-of-the-test");
    Ok(())
}

#[tokio::test]
async fn a_full_file_is_rotated_and_only_so_many_are_kept() -> Result<()> {
    let limits = [
        ("MCP_AUDIT_MAX_FILE_BYTES", "10000"),
        ("MCP_AUDIT_MAX_EVENT_BYTES", "2000"),
        ("MCP_AUDIT_MAX_FILES", "2"),
    ];
    let server = AllInOne::start_without_pool(&limits).await?;
    let client = server.client(Era::Modern).await?;
    // Two lines of over 100 bytes each: six files' worth.
    for _ in 0..300 {
        client
            .refusal("dynamic.tool.delete", json!({"name": "missing.tool"}))
            .await?;
    }
    let state = server.state().path().to_owned();
    let files = || -> Result<Vec<(String, u64)>> {
        let entries = std::fs::read_dir(&state)?.collect::<std::io::Result<Vec<_>>>()?;
        let named = entries.into_iter().map(|entry| {
            Ok((
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata()?.len(),
            ))
        });
        let named: Vec<_> = named.collect::<Result<_>>()?;
        Ok(named
            .into_iter()
            .filter(|(name, _)| name.starts_with("audit.jsonl"))
            .collect())
    };
    eventually(Duration::from_secs(20), async || {
        anyhow::ensure!(files()?.len() == 2, "{:?}", files()?);
        Ok(())
    })
    .await;
    for (name, bytes) in files()? {
        assert!(bytes <= 10_000, "{name}: {bytes}");
    }
    Ok(())
}

/// Nobody waits for the disk here, so an entry may be in memory still when the process goes.
const BLOCK: [(&str, &str); 2] = [
    ("MCP_AUDIT_ON_LOSS", "block"),
    ("MCP_EXECUTION_ENGINE", "isolate"),
];

#[tokio::test]
async fn a_server_killed_under_traffic_leaves_a_chain_that_verifies_and_names_what_was_open() -> Result<()> {
    let state = killed_under_traffic(AllInOne::start(&BLOCK).await?).await?;
    let (code, said) = verify(state.path(), &[]).await?;
    assert_eq!((code, &said["verified"]), (Some(0), &json!(true)), "{said}");
    let open = open_targets(&said["stores"][0]);
    assert_eq!(
        open.iter().filter(|target| **target == "forever").count(),
        2,
        "{open:?}"
    );

    let next = AllInOne::start_in(state, &BLOCK).await?;
    let client = next.client(Era::Modern).await?;
    let page = client
        .structured(
            "system.audit.query",
            json!({"target": "forever", "action": "dynamic.exec"}),
        )
        .await?;
    let states = page["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| &entry["state"]);
    assert_eq!(states.collect::<Vec<_>>(), ["open", "open"], "{page}");
    let state = next.state().clone();
    next.stop().await;
    let (code, said) = verify(state.path(), &[]).await?;
    assert_eq!(
        (code, &said["stores"][0]["chains"]),
        (Some(0), &json!(2)),
        "{said}"
    );

    let path = state.join("audit.jsonl");
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes)?;
    let (code, said) = verify(state.path(), &[]).await?;
    assert_eq!((code, &said["verified"]), (Some(1), &json!(false)), "{said}");
    bytes[middle] ^= 1;
    // The last line, which the anchor beside the tools tells of.
    let end = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n');
    bytes.truncate(end.context("several lines")? + 1);
    std::fs::write(&path, &bytes)?;
    let (code, said) = verify(state.path(), &[]).await?;
    assert_eq!(code, Some(1), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_server_could_not_send_is_in_the_database_after_the_next_start() -> Result<()> {
    let schema = Schema::new()?;
    let database = [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", schema.url()),
        ("MCP_DYNAMIC_PG_SCHEMA", schema.name()),
    ];
    let settings = [BLOCK.as_slice(), &database].concat();
    let state = killed_under_traffic(AllInOne::start(&settings).await?).await?;
    let (code, said) = verify(state.path(), &database).await?;
    assert_eq!(code, Some(0), "{said}");
    let next = AllInOne::start_in(state, &settings).await?;
    let state = next.state().clone();
    next.client(Era::Modern)
        .await?
        .structured("system.health", json!({}))
        .await?;
    next.stop().await;
    let (code, said) = verify(state.path(), &database).await?;
    assert_eq!(code, Some(0), "{said}");
    let (stored, files) = (&said["stores"][0], &said["stores"][1]);
    assert_eq!(stored["lines"], files["lines"], "{said}");
    for store in [stored, files] {
        let open = open_targets(store);
        assert_eq!(
            open.iter().filter(|target| **target == "forever").count(),
            2,
            "{open:?}"
        );
    }
    schema.drop_it().await
}

#[tokio::test]
async fn verify_says_by_its_exit_code_that_it_could_not_check() -> Result<()> {
    let state = State::new()?;
    let mut command = command("dynamic-mcp")?;
    command
        .env("MCP_STATE_DIR", state.path())
        .args(["audit", "verify"]);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("MCP_AUDIT_KEY_FILE"), "{said}");
    Ok(())
}

#[tokio::test]
async fn verify_of_a_named_database_takes_no_settings_of_a_server() -> Result<()> {
    let state = State::new()?;
    let key = state.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef")?;
    std::fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    let mut command = command("dynamic-mcp")?;
    command
        .env("MCP_STATE_DIR", state.path())
        // As the server's own, without the address.
        .env("MCP_DYNAMIC_BACKEND", "postgres")
        .args([
            "audit",
            "verify",
            "--database-url",
            "postgres://nobody@127.0.0.1:1/none",
        ])
        .arg("--key-file")
        .arg(&key);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("MCP_DYNAMIC_BACKEND"), "{said}");
    Ok(())
}

#[tokio::test]
async fn with_block_nothing_runs_while_the_audit_can_not_be_written() -> Result<()> {
    let server = AllInOne::start(&BLOCK).await?;
    let client = server.client(Era::Modern).await?;
    client
        .create_tool("quick", "return 1;", json!({"runtime": "isolate"}))
        .await?;
    client.structured("quick", json!({"args": {}})).await?;
    let path = server.state().join("audit.jsonl");
    // The path can't be opened while a directory has its name.
    std::fs::rename(&path, server.state().join("elsewhere"))?;
    std::fs::create_dir(&path)?;
    let call = client.call("quick", json!({"args": {}})).await?;
    let structured = &call["structuredContent"];
    assert_eq!(
        (&structured["outcome"], &structured["reason"]),
        (&json!("never_started"), &json!("unaudited")),
        "{call}"
    );
    let tool = json!({"name": "another", "description": "d", "code": "return 1;"});
    let refusal = client.call("dynamic.tool.create", json!({"tool": tool})).await?;
    assert_eq!(refusal["structuredContent"]["kind"], "unavailable", "{refusal}");
    let readyz: Value = reqwest::get(format!("{}/readyz", server.base_url))
        .await?
        .json()
        .await?;
    assert!(readyz["degraded"]["audit"].is_string(), "{readyz}");
    std::fs::remove_dir(&path)?;
    eventually(Duration::from_secs(20), async || {
        let call = client.call("quick", json!({"args": {}})).await?;
        anyhow::ensure!(call["structuredContent"]["outcome"] == "ok", "{call}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn without_audit_no_file_is_written() -> Result<()> {
    let server = AllInOne::start_without_pool(&[("MCP_AUDIT_ENABLED", "false")]).await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("unaudited", "return 1;", json!({})).await?;
    let state = server.state().path().to_owned();
    assert!(!state.join("audit.jsonl").exists());
    server.stop().await;
    Ok(())
}
