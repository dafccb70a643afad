//! The 2026-07-28 era: every request stands alone.

use std::time::Duration;

use dynamic_mcp_control_plane::principal::Access;
use serde_json::{Value, json};

use crate::legacy::{Session, initialize};
use crate::rig::{MODERN, Rig, message, modern_request, post, somebody};

#[tokio::test]
async fn discovery_tells_the_versions_and_who_answers() {
    let rig = Rig::new().await;
    let found = rig.result("server/discover", json!({})).await;
    assert_eq!(found["resultType"], "complete");
    assert!(
        found["supportedVersions"]
            .as_array()
            .is_some_and(|versions| versions.contains(&json!(MODERN)))
    );
    assert_eq!(found["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(
        found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "dynamic-mcp"
    );
}

#[tokio::test]
async fn every_result_says_its_type_and_lists_say_how_long_they_may_be_kept() {
    let rig = Rig::new().await;
    let requests = [
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/read", json!({"uri": "dynamic://service/meta"})),
    ];
    for (method, params) in requests {
        let result = rig.result(method, params).await;
        assert_eq!(result["resultType"], "complete", "{method}");
        assert!(result["ttlMs"].is_u64(), "{method}");
        assert_eq!(result["cacheScope"], "private", "{method}");
    }
    let called = rig.call("dev.echo", json!({"message": "a"})).await;
    assert_eq!(called["resultType"], "complete");
}

#[tokio::test]
async fn a_plain_call_is_answered_with_json_and_one_with_progress_with_a_stream() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "steps", "description": "d", "code": "progress"}))
        .await;
    let plain = rig.modern("tools/call", json!({"name": "steps"})).await;
    assert!(!plain.is_stream());
    assert_eq!(
        plain.message().await["result"]["structuredContent"]["result"],
        "done"
    );

    let params = json!({"name": "steps", "_meta": {"progressToken": "p1"}});
    let mut stream = rig.modern("tools/call", params).await;
    assert!(stream.is_stream());
    for step in 1..=3 {
        let said = stream.next().await.expect("progress");
        assert_eq!(said["method"], "notifications/progress");
        assert_eq!(said["params"]["progressToken"], "p1");
        assert_eq!(said["params"]["progress"].as_f64(), Some(f64::from(step)));
    }
    assert_eq!(
        stream.next().await.expect("the result")["result"]["structuredContent"]["result"],
        "done"
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "hangs", "description": "d", "code": "hang"}))
        .await;
    let mut service = rig.service.clone();
    let request = modern_request(1, "tools/call", json!({"name": "hangs"}));
    let call = tower::Service::call(&mut service, request);
    {
        let mut call = Box::pin(call);
        tokio::select! {
            _ = &mut call => panic!("it hangs"),
            () = rig.until_active(1) => {}
        }
    }
    rig.until_active(0).await;
}

#[tokio::test]
async fn unknown_tools_and_methods_are_told_apart() {
    let rig = Rig::new().await;
    let tool = rig
        .modern("tools/call", json!({"name": "no.such"}))
        .await
        .message()
        .await;
    assert_eq!(tool["error"]["code"], -32602);
    let text = tool["error"]["message"].as_str().expect("a text");
    assert!(text.contains("no.such") && text.contains("tools/list"), "{text}");

    let answer = rig.modern("no/such", json!({})).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.message().await["error"]["code"], -32601);

    let shape = rig
        .modern("tools/call", json!({"arguments": {}}))
        .await
        .message()
        .await;
    assert_eq!(
        shape["error"]["code"], -32602,
        "a known method with parameters of another shape: {shape}"
    );

    let resource = rig
        .modern("resources/read", json!({"uri": "test://no"}))
        .await
        .message()
        .await;
    assert_eq!(
        (&resource["error"]["code"], &resource["error"]["data"]["uri"]),
        (&json!(-32602), &json!("test://no"))
    );
}

#[tokio::test]
async fn what_is_gone_from_this_era_is_not_found() {
    let rig = Rig::new().await;
    for method in ["ping", "logging/setLevel", "resources/subscribe", "initialize"] {
        let params = if method == "logging/setLevel" {
            json!({"level": "info"})
        } else {
            json!({})
        };
        let answer = rig.modern(method, params).await;
        assert_eq!(answer.status(), 404, "{method}");
        assert_eq!(answer.message().await["error"]["code"], -32601, "{method}");
    }
}

#[tokio::test]
async fn headers_must_match_the_body() {
    let rig = Rig::new().await;
    let mut request = modern_request(
        1,
        "tools/call",
        json!({"name": "dev.echo", "arguments": {"message": "a"}}),
    );
    request
        .headers_mut()
        .insert("mcp-name", "time.now".parse().expect("a header"));
    let answer = rig.send(request).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.message().await["error"]["code"], -32020);
}

#[tokio::test]
async fn a_request_whose_sender_nobody_looked_at_is_refused_whatever_it_asks() {
    let rig = Rig::new().await;
    let create = json!({"name": "dynamic.tool.create", "arguments": {
        "tool": {"name": "anybodys", "description": "d", "code": "echo"}}});
    let session = Session::begin(&rig).await;
    for mut request in [
        modern_request(1, "tools/list", json!({})),
        modern_request(1, "server/discover", json!({})),
        modern_request(1, "tools/call", create.clone()),
        initialize(),
        session.request(Some(1), "tools/call", &create),
        session.get("GET"),
        session.get("DELETE"),
    ] {
        request.extensions_mut().remove::<Access>();
        let answer = rig.send(request).await;
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.message().await["error"]["code"], -32603);
    }
    assert!(rig.call("dynamic.tool.list", json!({})).await["structuredContent"]["tools"] == json!([]));
    assert_eq!(session.result(2, "ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn a_tool_may_want_an_argument_in_a_header_too() {
    let rig = Rig::new().await;
    let schema =
        json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    rig.create(json!({"name": "routed", "description": "d", "code": "echo", "inputSchema": schema}))
        .await;
    let params = json!({"name": "routed", "arguments": {"region": "eu"}});
    let missing = rig.send(modern_request(1, "tools/call", params.clone())).await;
    assert_eq!(missing.status(), 400);
    assert_eq!(missing.message().await["error"]["code"], -32020);

    let mut request = modern_request(1, "tools/call", params.clone());
    request
        .headers_mut()
        .insert("mcp-param-region", "eu".parse().expect("a header"));
    let result = rig.send(request).await.message().await;
    assert_eq!(
        result["result"]["structuredContent"]["result"],
        json!({"region": "eu"})
    );

    // To another tenant there is no such tool, so there is nothing to check either.
    let mut request = modern_request(1, "tools/call", params);
    request.extensions_mut().insert(somebody("other"));
    assert_eq!(rig.send(request).await.message().await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_listener_is_acknowledged_first_and_told_of_its_own_tenants_changes_only() {
    let rig = Rig::new().await;
    let wanted = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let mut listener = rig.modern("subscriptions/listen", wanted.clone()).await;
    let mut other = modern_request(2, "subscriptions/listen", wanted);
    other.extensions_mut().insert(somebody("other"));
    let mut other = rig.send(other).await;
    for stream in [&mut listener, &mut other] {
        let first = stream.next().await.expect("an acknowledgement");
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            first["params"]["notifications"],
            json!({"toolsListChanged": true})
        );
    }
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    let told = listener.next().await.expect("a change");
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        1
    );
    assert!(other.is_silent_for(Duration::from_millis(200)).await);

    rig.lifecycle.begin_shutdown();
    let last = listener.next().await.expect("a result");
    assert_eq!(last["result"]["resultType"], "complete");
    assert_eq!(listener.next().await, None);
}

#[tokio::test]
async fn a_listener_that_did_not_ask_for_tools_is_not_told_of_them() {
    let rig = Rig::new().await;
    let wanted = json!({"notifications": {"promptsListChanged": true}});
    let mut listener = rig.modern("subscriptions/listen", wanted).await;
    let first = listener.next().await.expect("an acknowledgement");
    assert_eq!(first["params"]["notifications"], json!({}));
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    assert!(listener.is_silent_for(Duration::from_millis(200)).await);
}

#[tokio::test]
async fn what_is_not_a_message_is_refused_in_the_words_of_json_rpc() {
    let rig = Rig::new().await;
    let cases: [(&str, u16, i64, Value); 4] = [
        ("{not json", 400, -32700, Value::Null),
        ("[]", 400, -32600, Value::Null),
        (r#"{"jsonrpc":"2.0"}"#, 400, -32600, Value::Null),
        (
            r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#,
            400,
            -32600,
            json!(7),
        ),
    ];
    for (body, status, code, id) in cases {
        let request = post(MODERN)
            .body(axum::body::Body::from(body))
            .expect("a request");
        let answer = rig.send(request).await;
        assert_eq!(answer.status(), status, "{body}");
        let refusal = answer.message().await;
        assert_eq!(
            (&refusal["error"]["code"], &refusal["id"]),
            (&json!(code), &id),
            "{body}"
        );
    }
    let large = json!({"name": "x".repeat(2 << 20)});
    let answer = rig
        .send(
            post(MODERN)
                .body(message(Some(1), "tools/call", &large))
                .expect("a request"),
        )
        .await;
    assert_eq!(answer.status(), 413);
    assert!(
        answer.message().await["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("1048576"))
    );
}
