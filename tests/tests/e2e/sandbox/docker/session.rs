//! The life of a session.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

use super::{exec, open, said};

const SOON: Duration = Duration::from_secs(60);
const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "docker");

#[tokio::test]
async fn files_stay_between_commands_javascript_and_files_of_the_client_in_both_eras() -> Result<()> {
    let server = AllInOne::start(&[NODE]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let id = open(&client).await?;
        let files = json!([{"path": "in/data.txt", "content": "a\nb\n"}, {"path": "raw", "content": "/wA=", "encoding": "base64"}]);
        let written = said(
            &client,
            "sandbox.fs.write",
            json!({"sessionId": id, "files": files}),
        )
        .await?;
        assert_eq!(written["ok"], true, "{written}");

        let done = exec(&client, &id, &["wc -l < in/data.txt", "exit 3", "echo never"]).await?;
        assert_eq!(
            (&done["ok"], &done["outcome"]),
            (&json!(true), &json!("ok")),
            "{done}"
        );
        assert_eq!(done["commands"][0]["stdout"].as_str().map(str::trim), Some("2"));
        assert_eq!(
            (&done["commands"][1]["exitCode"], &done["skipped"]),
            (&json!(3), &json!(1)),
            "{done}"
        );

        let code = "const fs = await import('node:fs'); fs.mkdirSync('out', {recursive: true}); \
                    fs.writeFileSync('out/answer.json', JSON.stringify(args)); return fs.readFileSync('raw').length;";
        let ran = said(
            &client,
            "sandbox.run_js",
            json!({"sessionId": id, "code": code, "args": {"n": 42}}),
        )
        .await?;
        assert_eq!(ran["result"], 2, "{ran}");

        let uri = format!("sandbox://{id}/out/answer.json");
        let listed = client.ask("resources/list", json!({})).await?;
        assert!(listed.to_string().contains(&uri), "{listed}");
        let read = client.ask("resources/read", json!({"uri": uri})).await?;
        assert_eq!(read["contents"][0]["text"], r#"{"n":42}"#);
        let raw = said(
            &client,
            "sandbox.fs.read",
            json!({"sessionId": id, "paths": ["raw", "/etc/passwd"]}),
        )
        .await?;
        assert_eq!(raw["files"][0]["content"], "/wA=", "{raw}");
        assert_eq!(raw["problems"].as_array().map(Vec::len), Some(1), "{raw}");

        let stopped = said(&client, "sandbox.stop", json!({"sessionId": id})).await?;
        assert_eq!(stopped["stopped"], true);
        assert_eq!(exec(&client, &id, &["true"]).await?["reason"], "session_lost");
    }
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_background_command_goes_on_and_control_works_while_the_session_burns() -> Result<()> {
    let server = AllInOne::start(&[NODE]).await?;
    let client = server.client(Era::Modern).await?;
    let id = open(&client).await?;
    let burn = json!({"sessionId": id, "commands": ["while :; do :; done"], "background": true});
    let begun = said(&client, "sandbox.exec", burn).await?;
    let command = begun["commandId"].as_str().unwrap_or_default().to_owned();
    let which = json!({"sessionId": id, "commandId": command});
    let shown = said(&client, "sandbox.command.get", which.clone()).await?;
    assert_eq!(shown["state"], "running", "{shown}");
    let listed = said(&client, "sandbox.fs.list", json!({"sessionId": id})).await?;
    assert_eq!(listed["ok"], true, "{listed}");
    let killed = said(&client, "sandbox.command.kill", which.clone()).await?;
    assert_eq!(killed["ok"], true, "{killed}");
    eventually(SOON, async || {
        let shown = said(&client, "sandbox.command.get", which.clone()).await?;
        ensure!(shown["state"] == "killed", "{shown}");
        Ok(())
    })
    .await;
    assert_eq!(
        exec(&client, &id, &["echo on"]).await?["commands"][0]["stdout"],
        "on\n"
    );
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_late_command_is_ended_and_the_session_stays() -> Result<()> {
    let server = AllInOne::start(&[NODE]).await?;
    let client = server.client(Era::Modern).await?;
    let id = open(&client).await?;
    let late = json!({"sessionId": id, "commands": ["echo begun; sleep 60"], "timeoutMs": 1000});
    let late = said(&client, "sandbox.exec", late).await?;
    assert_eq!(
        (&late["ok"], &late["outcome"]),
        (&json!(false), &json!("timed_out")),
        "{late}"
    );
    assert_eq!(exec(&client, &id, &["true"]).await?["ok"], true);
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_and_its_place_is_free_again() -> Result<()> {
    let limits = [
        NODE,
        ("MCP_SANDBOX_MAX_SESSIONS", "1"),
        ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "3"),
    ];
    let server = AllInOne::start(&limits).await?;
    let client = server.client(Era::Modern).await?;
    let id = open(&client).await?;
    let refused = said(&client, "sandbox.initialize", json!({})).await?;
    assert_eq!(refused["reason"], "too_many_sessions", "{refused}");
    eventually(SOON, async || {
        let listed = said(&client, "sandbox.session.list", json!({})).await?;
        ensure!(listed["sessions"] == json!([]), "{listed}");
        Ok(())
    })
    .await;
    assert_eq!(exec(&client, &id, &["true"]).await?["reason"], "session_lost");
    open(&client).await?;
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_session_needs_the_admin_token_where_there_is_one() -> Result<()> {
    let server = AllInOne::start(&[NODE, ("MCP_ADMIN_TOKEN", "correct horse")]).await?;
    let client = server.client(Era::Modern).await?;
    for arguments in [json!({}), json!({"adminToken": "wrong"})] {
        let refused = said(&client, "sandbox.initialize", arguments).await?;
        assert_eq!(refused["reason"], "forbidden", "{refused}");
        assert!(!refused.to_string().contains("wrong"));
    }
    let opened = said(
        &client,
        "sandbox.initialize",
        json!({"adminToken": "correct horse"}),
    )
    .await?;
    let refused = exec(
        &client,
        opened["sessionId"].as_str().unwrap_or_default(),
        &["true"],
    )
    .await?;
    assert_eq!(refused["reason"], "forbidden", "{refused}");
    server.stop().await;
    Ok(())
}
