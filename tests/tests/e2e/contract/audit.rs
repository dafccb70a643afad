//! The audit file: what was done, by whom, with what outcome, and never with what.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

/// In code, arguments, results and tokens.
const MARKER: &str = "must-not-be-written";

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
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
            .filter(|(name, _)| name.starts_with("audit"))
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
