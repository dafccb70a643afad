//! Sandbox sessions as clients have them.

use dynamic_mcp_control_plane::principal::{Access, Right};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tower::Service as _;

use crate::rig::{Rig, SOON, modern_request, somebody};

async fn open(rig: &Rig) -> String {
    let opened = rig.call("sandbox.initialize", json!({})).await;
    let shown = &opened["structuredContent"];
    assert_eq!(shown["ok"], true, "{opened}");
    shown["sessionId"].as_str().expect("an id").to_owned()
}

/// What a call says that is structured.
async fn ask(rig: &Rig, tool: &str, arguments: Value) -> Value {
    rig.call(tool, arguments).await["structuredContent"].clone()
}

/// The same as somebody.
async fn ask_as(rig: &Rig, who: &Access, method: &str, params: Value) -> Value {
    let mut request = modern_request(1, method, params);
    request.extensions_mut().insert(who.clone());
    rig.send(request).await.message().await
}

#[tokio::test]
async fn a_session_is_opened_used_listed_and_stopped() {
    let rig = Rig::new().await;
    let opened = ask(&rig, "sandbox.initialize", json!({"timeoutMs": 5000})).await;
    let id = opened["sessionId"].as_str().expect("an id");
    let uuid = id.strip_prefix("mcp-sbx-").unwrap_or_default();
    let parts: Vec<_> = uuid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
    assert_eq!(
        (&opened["image"], &opened["timeoutMs"]),
        (&json!("node:lts-slim"), &json!(5000))
    );
    assert_eq!(opened["expiresAt"], "1970-01-01T04:00:01.000Z");

    let listed = ask(&rig, "sandbox.session.list", json!({})).await;
    let expected = json!([{"id": id, "image": "node:lts-slim", "createdAt": "1970-01-01T00:00:01.000Z", "lastUsedAt": "1970-01-01T00:00:01.000Z"}]);
    assert_eq!(listed["sessions"], expected);

    for stopped in [true, false] {
        let answer = rig.call("sandbox.stop", json!({"sessionId": id})).await;
        assert_eq!(answer["structuredContent"]["stopped"], stopped);
        assert_eq!(answer["isError"], false, "to stop what has been is no error");
    }
    assert_eq!(rig.executor.sandboxes.count(), 0);
    assert_eq!(
        ask(&rig, "sandbox.session.list", json!({})).await["sessions"],
        json!([])
    );
    let late = ask(
        &rig,
        "sandbox.exec",
        json!({"sessionId": id, "commands": ["true"]}),
    )
    .await;
    assert_eq!(
        late["reason"], "session_lost",
        "its owner learns that it was there"
    );
}

#[tokio::test]
async fn a_command_that_fails_is_a_value_and_no_error() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let answer = rig
        .call(
            "sandbox.exec",
            json!({"sessionId": id, "commands": ["one", "fail"]}),
        )
        .await;
    let shown = &answer["structuredContent"];
    assert_eq!(
        (&answer["isError"], &shown["ok"], &shown["outcome"]),
        (&json!(false), &json!(true), &json!("ok"))
    );
    assert_eq!(shown["commands"][0]["stdout"], "one");
    assert_eq!(shown["commands"][1]["exitCode"], 1);
    let last = answer["content"]
        .as_array()
        .and_then(|content| content.last())
        .expect("a text");
    assert_eq!(
        last["text"],
        "$ one\none\n[exit code 0]\n$ fail\nfail\n[exit code 1]"
    );
    let nothing = ask(&rig, "sandbox.exec", json!({"sessionId": id, "commands": []})).await;
    assert_eq!(nothing["outcome"], "invalid_input");
}

#[tokio::test]
async fn javascript_runs_in_a_session_as_a_tool_does() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let shown = ask(
        &rig,
        "sandbox.run_js",
        json!({"sessionId": id, "code": "echo", "args": {"n": 1}}),
    )
    .await;
    assert_eq!((&shown["ok"], &shown["result"]), (&json!(true), &json!({"n": 1})));
    let thrown = ask(&rig, "sandbox.run_js", json!({"sessionId": id, "code": "throw"})).await;
    assert_eq!(
        (&thrown["ok"], &thrown["outcome"]),
        (&json!(false), &json!("threw"))
    );
}

#[tokio::test]
async fn what_a_command_prints_comes_as_progress_and_log_before_the_answer() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let params = json!({
        "name": "sandbox.exec",
        "arguments": {"sessionId": id, "commands": ["one", "three"]},
        "_meta": {"progressToken": "p", "io.modelcontextprotocol/logLevel": "info"},
    });
    let mut answer = rig.modern("tools/call", params).await;
    let (mut progress, mut logged) = (Vec::new(), Vec::new());
    while let Some(message) = answer.next().await {
        match message["method"].as_str() {
            Some("notifications/progress") => progress.push(message["params"].clone()),
            Some("notifications/message") => logged.push(message["params"]["data"].clone()),
            _ => assert_eq!(message["result"]["structuredContent"]["ok"], true),
        }
    }
    let progress: Vec<_> = progress
        .iter()
        .map(|said| (&said["progress"], &said["message"]))
        .collect();
    assert_eq!(
        progress,
        [(&json!(3.0), &json!("one")), (&json!(8.0), &json!("three"))]
    );
    assert_eq!(logged, [json!("one"), json!("three")]);
}

#[tokio::test]
async fn what_javascript_printed_comes_as_log_messages() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let params = json!({
        "name": "sandbox.run_js",
        "arguments": {"sessionId": id, "code": "print"},
        "_meta": {"io.modelcontextprotocol/logLevel": "info"},
    });
    let mut answer = rig.modern("tools/call", params).await;
    let mut logged = Vec::new();
    while let Some(message) = answer.next().await {
        if message["method"] == "notifications/message" {
            logged.push(message["params"]["data"].clone());
        }
    }
    assert_eq!(logged, [json!("to stdout"), json!("to stderr")]);
}

#[tokio::test]
async fn a_shutdown_waits_for_no_dependencies() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let run =
        json!({"sessionId": id, "code": "echo", "dependencies": [{"name": "endless", "version": "1.0.0"}]});
    let shutdown = async {
        rig.until_active(1).await;
        rig.lifecycle.hard().cancel();
    };
    let both = futures::future::join(ask(&rig, "sandbox.run_js", run), shutdown);
    let (shown, ()) = tokio::time::timeout(SOON, both).await.expect("it ends");
    assert_eq!(shown["outcome"], "interrupted", "{shown}");
}

#[tokio::test]
async fn a_background_command_is_looked_at_and_ended_by_its_id() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let begun = ask(
        &rig,
        "sandbox.exec",
        json!({"sessionId": id, "commands": ["sleep 9"], "background": true}),
    )
    .await;
    let command = begun["commandId"].as_str().expect("an id").to_owned();
    let which = json!({"sessionId": id, "commandId": command});
    assert_eq!(
        ask(&rig, "sandbox.command.get", which.clone()).await["state"],
        "running"
    );
    assert_eq!(ask(&rig, "sandbox.command.kill", which).await["state"], "killed");
    for unknown in ["cmd_0", "no id at all"] {
        let shown = ask(
            &rig,
            "sandbox.command.get",
            json!({"sessionId": id, "commandId": unknown}),
        )
        .await;
        assert_eq!(
            (&shown["ok"], &shown["reason"]),
            (&json!(false), &json!("not_found")),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn files_go_in_and_come_out_as_they_are() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let files = json!([{"path": "a/é.txt", "content": "héllo"}, {"path": "/workspace/b", "content": "/wA=", "encoding": "base64"}]);
    let written = ask(&rig, "sandbox.fs.write", json!({"sessionId": id, "files": files})).await;
    assert_eq!(
        (&written["ok"], written["written"].as_array().map(Vec::len)),
        (&json!(true), Some(2)),
        "{written}"
    );
    let answer = rig
        .call(
            "sandbox.fs.read",
            json!({"sessionId": id, "paths": ["a/é.txt", "b"]}),
        )
        .await;
    let words = &answer["content"][0]["text"];
    assert_eq!(
        words,
        "/workspace/a/é.txt (6 bytes, utf8)\n/workspace/b (2 bytes, base64)"
    );
    let read = &answer["structuredContent"];
    let contents: Vec<_> = read["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| (&file["content"], &file["encoding"]))
        .collect();
    assert_eq!(
        contents,
        [
            (&json!("héllo"), &json!("utf8")),
            (&json!("/wA="), &json!("base64"))
        ]
    );
    let listed = ask(&rig, "sandbox.fs.list", json!({"sessionId": id})).await;
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(2));

    let answer = rig
        .call(
            "sandbox.fs.read",
            json!({"sessionId": id, "paths": ["b", "none"]}),
        )
        .await;
    assert_eq!(answer["isError"], true);
    let shown = &answer["structuredContent"];
    assert_eq!(
        (
            shown["files"].as_array().map(Vec::len),
            &shown["problems"][0]["kind"]
        ),
        (Some(1), &json!("not_found"))
    );
    let large = json!([{"path": "c", "content": "x".repeat(1_001)}]);
    let refused = ask(&rig, "sandbox.fs.write", json!({"sessionId": id, "files": large})).await;
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.contains("MCP_SANDBOX_MAX_FILE_BYTES"), "{refused}");
}

#[tokio::test]
async fn files_of_which_nobody_says_whether_they_were_written_may_have_been() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let files = json!([{"path": "break", "content": "c"}]);
    let shown = ask(&rig, "sandbox.fs.write", json!({"sessionId": id, "files": files})).await;
    assert_eq!(
        (&shown["outcome"], &shown["reason"]),
        (&json!("interrupted"), &Value::Null),
        "{shown}"
    );
}

#[tokio::test]
async fn files_under_out_are_resources_of_their_owner_alone() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let files = json!([
        {"path": "out/r 1.json", "content": "{}"},
        {"path": "out/b.png", "content": "/wA=", "encoding": "base64"},
        {"path": "not-offered", "content": "s"},
    ]);
    ask(&rig, "sandbox.fs.write", json!({"sessionId": id, "files": files})).await;
    let listed = rig.result("resources/list", json!({})).await;
    let mut uris = listed["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|one| one["uri"].as_str());
    let uri = format!("sandbox://{id}/out/r%201.json");
    assert!(uris.any(|one| one == uri), "{listed}");
    assert!(!listed.to_string().contains("not-offered"));
    let read = rig.result("resources/read", json!({"uri": uri})).await;
    assert_eq!(
        (&read["contents"][0]["text"], &read["contents"][0]["mimeType"]),
        (&json!("{}"), &json!("application/json"))
    );
    let read = rig
        .result(
            "resources/read",
            json!({"uri": format!("sandbox://{id}/out/b.png")}),
        )
        .await;
    assert_eq!(read["contents"][0]["blob"], "/wA=");

    let nobody = ask_as(&rig, &somebody("other"), "resources/read", json!({"uri": uri})).await;
    let never = uri.replace(&id, "mcp-sbx-00000000-0000-0000-0000-000000000000");
    let unknown = ask_as(&rig, &somebody("other"), "resources/read", json!({"uri": never})).await;
    let text = |answer: &Value| answer["error"]["message"].clone();
    assert!(!text(&nobody).is_null());
    assert_eq!(text(&nobody), text(&unknown));
    for outside in [
        "sandbox://ID/out/../not-offered",
        "sandbox://ID/out/%2e%2e/not-offered",
        "sandbox://ID/not-offered",
    ] {
        let answer = rig
            .modern("resources/read", json!({"uri": outside.replace("ID", &id)}))
            .await
            .message()
            .await;
        assert_eq!(text(&answer), text(&unknown), "{outside}");
    }
}

#[tokio::test]
async fn to_anybody_else_a_session_never_existed() {
    let rig = Rig::new().await;
    let ann = somebody("acme");
    let opened = ask_as(
        &rig,
        &ann,
        "tools/call",
        json!({"name": "sandbox.initialize", "arguments": {}}),
    )
    .await;
    let id = opened["result"]["structuredContent"]["sessionId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let never = "mcp-sbx-00000000-0000-0000-0000-000000000000";
    let mut bob = somebody("acme");
    std::sync::Arc::make_mut(&mut bob.principal).subject = "bob".to_owned();
    for who in [somebody("globex"), bob] {
        for (tool, more) in [
            ("sandbox.exec", json!({"commands": ["true"]})),
            ("sandbox.run_js", json!({"code": "echo"})),
            ("sandbox.stop", json!({})),
            ("sandbox.fs.read", json!({"paths": ["a"]})),
            (
                "sandbox.fs.write",
                json!({"files": [{"path": "a", "content": "b"}]}),
            ),
            ("sandbox.fs.list", json!({})),
            ("sandbox.command.get", json!({"commandId": "cmd_1"})),
            ("sandbox.command.get", json!({"commandId": "none"})),
            ("sandbox.command.kill", json!({"commandId": "cmd_1"})),
        ] {
            let ask = async |id: &str| {
                let mut arguments = more.clone();
                arguments["sessionId"] = id.into();
                let answer = ask_as(
                    &rig,
                    &who,
                    "tools/call",
                    json!({"name": tool, "arguments": arguments}),
                )
                .await;
                let mut shown = answer["result"].clone();
                shown["content"] = Value::Null;
                for own in ["jobId", "durationMs"] {
                    shown["structuredContent"][own] = Value::Null;
                }
                shown
            };
            assert_eq!(ask(&id).await, ask(never).await, "{tool}");
            assert_eq!(ask(&id).await, ask("x y").await, "{tool}, with what can be no id");
        }
        let listed = ask_as(
            &rig,
            &who,
            "tools/call",
            json!({"name": "sandbox.session.list", "arguments": {}}),
        )
        .await;
        assert_eq!(listed["result"]["structuredContent"]["sessions"], json!([]));
    }
    assert_eq!(rig.executor.sandboxes.count(), 1, "it is still there");
}

#[tokio::test]
async fn sessions_need_their_own_right() {
    let rig = Rig::new().await;
    let who = Access {
        rights: [Right::Call, Right::Write].into_iter().collect(),
        ..somebody("acme")
    };
    let refused = ask_as(
        &rig,
        &who,
        "tools/call",
        json!({"name": "sandbox.initialize", "arguments": {}}),
    )
    .await;
    assert!(refused["error"].is_object(), "{refused}");
    assert_eq!(rig.executor.sandboxes.count(), 0);
}

#[tokio::test]
async fn no_more_sessions_are_opened_than_the_tenant_may_have() {
    let rig = Rig::new().await;
    let mut first = String::new();
    for _ in 0..4 {
        first = open(&rig).await;
    }
    let refused = ask(&rig, "sandbox.initialize", json!({})).await;
    assert_eq!(
        (&refused["ok"], &refused["reason"]),
        (&json!(false), &json!("too_many_sessions")),
        "{refused}"
    );
    assert_eq!(rig.executor.sandboxes.count(), 4);
    ask(&rig, "sandbox.stop", json!({"sessionId": first})).await;
    open(&rig).await;
}

#[tokio::test]
async fn a_session_that_its_executor_lost_is_lost_at_once_and_for_ever() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    rig.executor.sandboxes.clear();
    for tool in ["sandbox.exec", "sandbox.exec"] {
        let shown = ask(&rig, tool, json!({"sessionId": id, "commands": ["true"]})).await;
        assert_eq!(
            (&shown["reason"], &shown["outcome"]),
            (&json!("session_lost"), &json!("never_started"))
        );
        assert!(
            shown["error"]
                .as_str()
                .is_some_and(|text| text.contains("sandbox.initialize")),
            "{shown}"
        );
    }
    assert_eq!(
        ask(&rig, "sandbox.session.list", json!({})).await["sessions"],
        json!([])
    );
}

#[tokio::test]
async fn a_closed_stream_ends_the_command_and_leaves_the_session() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let params = json!({
        "name": "sandbox.exec",
        "arguments": {"sessionId": id, "commands": ["one", "hang"]},
        "_meta": {"progressToken": "p"},
    });
    let response = rig
        .service
        .clone()
        .call(modern_request(1, "tools/call", params))
        .await
        .expect("infallible");
    let mut frames = response.into_body().into_data_stream();
    tokio::time::timeout(SOON, frames.next())
        .await
        .expect("it says something");
    rig.until_active(1).await;
    drop(frames);
    rig.until_active(0).await;
    let shown = ask(&rig, "sandbox.exec", json!({"sessionId": id, "commands": ["on"]})).await;
    assert_eq!(shown["ok"], true, "{shown}");
}

#[tokio::test]
async fn stopping_and_listing_wait_for_no_slot() {
    let rig = Rig::new().await;
    let id = open(&rig).await;
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let params = json!({"name": "sandbox.exec", "arguments": {"sessionId": id, "commands": ["hang"]}});
        let call = rig.service.clone().call(modern_request(1, "tools/call", params));
        hanging.spawn(async move { drop(call.await) });
    }
    rig.until_active(64).await;
    let refused = ask(
        &rig,
        "sandbox.exec",
        json!({"sessionId": id, "commands": ["one"]}),
    )
    .await;
    assert_eq!(refused["reason"], "concurrency_limited");
    assert_eq!(
        ask(&rig, "sandbox.session.list", json!({})).await["sessions"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        ask(&rig, "sandbox.stop", json!({"sessionId": id})).await["stopped"],
        true
    );
}
