//! What keeps sessions of the legacy era apart, bounded and alive.

use std::time::Duration;

use dynamic_mcp_control_plane::mcp::Profile;
use dynamic_mcp_control_plane::mcp::http::HttpMcpConfig;
use serde_json::json;

use crate::legacy::{Session, initialize};
use crate::rig::{Rig, SOON, somebody};

fn config(ttl: Duration, max_sessions: usize) -> HttpMcpConfig {
    HttpMcpConfig {
        max_sessions,
        ..HttpMcpConfig::new(ttl, 1 << 20)
    }
}

async fn until_gone(session: &Session<'_>) {
    let gone = async {
        let mut id = 100;
        while session.ask(id, "ping", json!({})).await.status() != 404 {
            id += 1;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    };
    tokio::time::timeout(SOON, gone)
        .await
        .expect("the session expires");
}

#[tokio::test]
async fn a_session_is_unknown_to_everybody_but_who_began_it() {
    let rig = Rig::new().await;
    let session = Session::begin(&rig).await;
    for mut request in [
        session.request(Some(1), "tools/list", &json!({})),
        session.get("GET"),
        session.get("DELETE"),
    ] {
        request.extensions_mut().insert(somebody("other"));
        let answer = rig.send(request).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.message().await["error"]["message"], "Session not found");
    }
    assert_eq!(session.result(2, "ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn an_idle_session_expires_and_one_with_a_running_call_or_an_open_stream_does_not() {
    let rig = Rig::with(Profile::Enterprise, config(Duration::from_secs(1), 10)).await;
    rig.create(json!({"name": "hangs", "description": "d", "code": "hang"}))
        .await;
    let idle = Session::begin(&rig).await;
    let busy = Session::begin(&rig).await;
    let reading = Session::begin(&rig).await;
    let _stream = reading.open_stream().await;
    let call = busy.ask(7, "tools/call", json!({"name": "hangs"})).await;
    rig.until_active(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    until_gone(&idle).await;
    assert_eq!(rig.active_executions().await, 1, "the quiet call goes on");
    assert_eq!(reading.result(1, "ping", json!({})).await, json!({}));
    busy.notify("notifications/cancelled", json!({"requestId": 7}))
        .await;
    rig.until_active(0).await;
    drop(call);
    until_gone(&busy).await;
}

#[tokio::test]
async fn a_new_session_pushes_out_the_longest_idle_one_and_none_that_is_busy() {
    let rig = Rig::with(Profile::Enterprise, config(Duration::from_secs(60), 2)).await;
    let first = Session::begin(&rig).await;
    let second = Session::begin(&rig).await;
    first.result(1, "ping", json!({})).await;
    let third = Session::begin(&rig).await;
    assert_eq!(second.ask(1, "ping", json!({})).await.status(), 404);
    let _streams = [first.open_stream().await, third.open_stream().await];
    let refused = rig.send(initialize()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.header("retry-after").is_some());
    assert!(
        refused.message().await["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("sessions"))
    );
}

#[tokio::test]
async fn a_tenant_with_many_sessions_takes_no_place_from_one_with_few() {
    let rig = Rig::with(Profile::Enterprise, config(Duration::from_secs(60), 3)).await;
    let few = Session::begin(&rig).await;
    let begin_as_other = async || {
        let mut request = initialize();
        request.extensions_mut().insert(somebody("other"));
        rig.send(request).await.status()
    };
    for _ in 0..5 {
        assert_eq!(begin_as_other().await, 200);
    }
    assert_eq!(
        few.result(1, "ping", json!({})).await,
        json!({}),
        "it was idle for the longest"
    );
    let more = Session::begin(&rig).await;
    for own in [&few, &more] {
        assert_eq!(own.result(2, "ping", json!({})).await, json!({}));
    }
}

#[tokio::test]
async fn an_unread_stream_holds_up_no_call() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "prints", "description": "d", "code": "print"}))
        .await;
    rig.create(json!({"name": "floods", "description": "d", "code": "flood"}))
        .await;
    let session = Session::begin(&rig).await;
    let _unread = session.open_stream().await;
    session
        .result(1, "logging/setLevel", json!({"level": "debug"}))
        .await;
    // Each call logs twice, and every second one tells of a change as well.
    for id in 2..80 {
        let called = session.result(id, "tools/call", json!({"name": "prints"}));
        let called = tokio::time::timeout(SOON, called).await.expect("the call ends");
        assert_eq!(called["isError"], false);
        if id % 2 == 0 {
            let enable = json!({"name": "floods", "enabled": id % 4 != 0});
            session
                .result(
                    1_000 + id,
                    "tools/call",
                    json!({"name": "dynamic.tool.enable", "arguments": enable}),
                )
                .await;
        }
    }
    // Nor does progress that nobody reads.
    let params = json!({"name": "floods", "_meta": {"progressToken": "f"}});
    let mut unread = session.ask(2_000, "tools/call", params).await;
    rig.until_active(0).await;
    let pinged = tokio::time::timeout(SOON, session.result(2_001, "ping", json!({}))).await;
    assert_eq!(pinged.expect("the session goes on"), json!({}));
    let mut last = None;
    while let Some(message) = unread.next().await {
        last = Some(message);
    }
    assert_eq!(
        last.expect("a result")["result"]["structuredContent"]["result"],
        "done"
    );
}
