//! The tools of the contract, called as clients call them.

use std::time::Duration;

use dynamic_mcp_control_plane::mcp::http::HttpMcpConfig;
use dynamic_mcp_control_plane::mcp::{self, Profile};
use serde_json::{Value, json};

use crate::rig::Rig;

pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("a text")
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["tools"].as_array().expect("tools");
    tools
        .iter()
        .map(|tool| tool["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn a_tool_lives_from_create_to_delete() {
    let rig = Rig::new().await;
    let tool = json!({"name": "text.echo", "title": "Echo", "description": "Says it again", "code": "echo"});
    let created = rig.call("dynamic.tool.create", json!({"tool": tool})).await;
    let record = &created["structuredContent"]["tool"];
    assert_eq!(
        (&record["name"], &record["revision"]),
        (&json!("text.echo"), &json!(1))
    );
    assert_eq!(
        (&record["timeoutMs"], &record["enabled"]),
        (&json!(30_000), &json!(true))
    );
    assert_eq!(record.get("code"), None);

    let list = rig.result("tools/list", json!({})).await;
    let shown = list["tools"]
        .as_array()
        .and_then(|tools| tools.last())
        .expect("a tool");
    assert_eq!(
        (&shown["name"], &shown["title"]),
        (&json!("text.echo"), &json!("Echo"))
    );
    assert_eq!(shown["inputSchema"]["properties"]["args"]["type"], "object");

    let called = rig.call("text.echo", json!({"args": {"a": 1}})).await;
    assert_eq!(called["structuredContent"]["result"], json!({"a": 1}));
    assert_eq!(
        (
            &called["structuredContent"]["ok"],
            &called["structuredContent"]["revision"]
        ),
        (&json!(true), &json!(1))
    );
    assert_eq!(text(&called), r#"{"a":1}"#);
    let without = rig.call("text.echo", json!({})).await;
    assert_eq!(without["structuredContent"]["result"], json!({}));
    let by_name = rig
        .call(
            "dynamic.tool.call",
            json!({"name": "text.echo", "args": {"b": 2}}),
        )
        .await;
    assert_eq!(by_name["structuredContent"]["result"], json!({"b": 2}));

    let got = rig.call("dynamic.tool.get", json!({"name": "text.echo"})).await;
    assert_eq!(got["structuredContent"]["tool"]["code"], "echo");
    let listed = rig.call("dynamic.tool.list", json!({"includeCode": true})).await;
    assert_eq!(listed["structuredContent"]["tools"][0]["code"], "echo");

    let patch =
        json!({"name": "text.echo", "patch": {"code": "throw", "title": null}, "expectedRevision": 1});
    let updated = rig.call("dynamic.tool.update", patch.clone()).await;
    assert_eq!(updated["structuredContent"]["tool"]["revision"], 2);
    assert_eq!(updated["structuredContent"]["tool"].get("title"), None);
    let stale = rig.call("dynamic.tool.update", patch).await;
    assert_eq!(stale["isError"], true);
    let refusal = &stale["structuredContent"];
    assert_eq!(
        (
            &refusal["kind"],
            &refusal["expectedRevision"],
            &refusal["actualRevision"]
        ),
        (&json!("conflict"), &json!(1), &json!(2))
    );

    let thrown = rig.call("text.echo", json!({})).await;
    assert_eq!(
        (&thrown["isError"], &thrown["structuredContent"]["outcome"]),
        (&json!(true), &json!("threw"))
    );
    assert_eq!(thrown["structuredContent"]["error"], "TypeError: no");

    let off = rig
        .call(
            "dynamic.tool.enable",
            json!({"name": "text.echo", "enabled": false}),
        )
        .await;
    assert_eq!(off["structuredContent"]["tool"]["enabled"], false);
    assert!(!names(&rig.result("tools/list", json!({})).await).contains(&"text.echo"));
    let unknown = rig
        .modern("tools/call", json!({"name": "text.echo"}))
        .await
        .message()
        .await;
    assert_eq!(unknown["error"]["code"], -32602);
    let by_name = rig.call("dynamic.tool.call", json!({"name": "text.echo"})).await;
    assert_eq!(by_name["structuredContent"]["kind"], "not_found");

    let deleted = rig
        .call("dynamic.tool.delete", json!({"name": "text.echo"}))
        .await;
    assert_eq!(deleted["structuredContent"]["deleted"]["name"], "text.echo");
    let gone = rig.call("dynamic.tool.get", json!({"name": "text.echo"})).await;
    assert_eq!(
        (&gone["isError"], &gone["structuredContent"]["kind"]),
        (&json!(true), &json!("not_found"))
    );
}

#[tokio::test]
async fn a_tool_with_schemas_takes_its_arguments_directly_and_answers_with_the_bare_result() {
    let rig = Rig::new().await;
    let schema = json!({
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": false
    });
    let tool = json!({
        "name": "typed", "description": "d", "code": "echo", "inputSchema": schema, "outputSchema": schema
    });
    rig.create(tool).await;
    let list = rig.result("tools/list", json!({})).await;
    let shown = list["tools"]
        .as_array()
        .and_then(|tools| tools.last())
        .expect("a tool");
    assert_eq!(
        (&shown["inputSchema"], &shown["outputSchema"]),
        (&schema, &schema)
    );

    let called = rig.call("typed", json!({"text": "a"})).await;
    assert_eq!(called["structuredContent"], json!({"text": "a"}));
    assert_eq!(called["_meta"]["dynamic-mcp/call"]["outcome"], "ok");

    let wrong = rig.call("typed", json!({"text": 5})).await;
    assert_eq!(wrong["isError"], true);
    assert_eq!(
        wrong.get("structuredContent"),
        None,
        "a client would check it against the output schema"
    );
    assert_eq!(wrong["_meta"]["dynamic-mcp/call"]["outcome"], "invalid_input");
    assert!(text(&wrong).contains("text"), "{wrong}");
    let by_name = rig
        .call(
            "dynamic.tool.call",
            json!({"name": "typed", "args": {"text": "b"}}),
        )
        .await;
    assert_eq!(by_name["structuredContent"]["result"], json!({"text": "b"}));
}

#[tokio::test]
async fn a_wrong_argument_is_named_and_nothing_runs() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "text.echo", "description": "d", "code": "echo"}))
        .await;
    let cases = [
        (
            "dev.echo",
            json!({"message": 1}),
            "message must be a string, got 1",
        ),
        (
            "dev.echo",
            json!({"message": "a", "upper": true}),
            "upper is not an argument of this tool; allowed: message, uppercase",
        ),
        (
            "text.echo",
            json!({"text": "a"}),
            "text is not an argument of this tool; allowed: args",
        ),
        (
            "run_js_ephemeral",
            json!({"code": "echo", "args": []}),
            "args must be an object, got an array of 0",
        ),
        (
            "run_js_ephemeral",
            json!({"code": "echo", "timeoutMs": 5}),
            "timeoutMs must be an integer from 1000 to 120000, got 5",
        ),
        (
            "time.now",
            json!({"timeZone": "Mars"}),
            "timeZone \"Mars\" is invalid",
        ),
        (
            "dynamic.tool.create",
            json!({"tool": {"name": "abc"}}),
            "tool.description is required",
        ),
        (
            "dynamic.tool.create",
            json!({"tool": {"name": "abc", "description": "d", "code": "c", "isolation": "none"}}),
            "tool.isolation must be \"call\" or \"tool\"",
        ),
        (
            "dynamic.tool.update",
            json!({"name": "text.echo", "patch": {"nmae": 1}}),
            "patch.nmae is not an argument",
        ),
        (
            "dynamic.tool.create",
            json!({"tool": {"name": "dev.echo", "description": "d", "code": "c"}}),
            "built-in",
        ),
    ];
    for (name, arguments, expected) in cases {
        let result = rig.call(name, arguments).await;
        assert_eq!(result["isError"], true, "{name}");
        assert!(text(&result).contains(expected), "{name}: {}", text(&result));
        assert_eq!(result["structuredContent"]["ok"], false, "{name}");
    }
    let metrics = rig.call("system.guard_metrics", json!({})).await;
    assert_eq!(metrics["structuredContent"]["scopes"], json!([]));
}

#[tokio::test]
async fn the_small_tools_answer_as_the_contract_says() {
    let rig = Rig::new().await;
    let health = rig.call("system.health", json!({})).await;
    let health = &health["structuredContent"];
    assert_eq!(
        (&health["status"], &health["service"]),
        (&json!("ok"), &json!("dynamic-mcp"))
    );
    assert!(health["version"].is_string() && health["uptimeSeconds"].is_u64());
    let echo = rig
        .call("dev.echo", json!({"message": "hello mcp", "uppercase": true}))
        .await;
    assert_eq!(
        echo["structuredContent"],
        json!({"message": "HELLO MCP", "length": 9})
    );
    let config = rig.call("system.runtime_config", json!({})).await;
    assert_eq!(config["structuredContent"]["dynamic"]["backend"], "file");
    let ran = rig
        .call("run_js_ephemeral", json!({"code": "echo", "args": {"a": 1}}))
        .await;
    assert_eq!(ran["structuredContent"]["result"], json!({"a": 1}));
    let printed = rig.call("run_js_ephemeral", json!({"code": "print"})).await;
    assert_eq!(printed["structuredContent"]["stdout"], "to stdout");
    let metrics = rig.call("system.guard_metrics", json!({})).await;
    assert_eq!(metrics["structuredContent"]["limits"]["maxConcurrency"], 64);
    assert_eq!(
        metrics["structuredContent"]["scopes"][0]["scope"],
        "run_js_ephemeral"
    );
    assert_eq!(metrics["structuredContent"]["scopes"][0]["allowed"], 2);
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_survive_changes() {
    let rig = Rig::new().await;
    for number in 0..150 {
        rig.create(json!({"name": format!("tool{number:03}"), "description": "d", "code": "echo"}))
            .await;
    }
    let first = rig.result("tools/list", json!({})).await;
    assert_eq!(names(&first).len(), 100);
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let last = *names(&first).last().expect("a name");
    rig.call("dynamic.tool.delete", json!({"name": last})).await;
    let second = rig.result("tools/list", json!({"cursor": cursor})).await;
    assert_eq!(second.get("nextCursor"), None);
    let all: Vec<_> = names(&first).into_iter().chain(names(&second)).collect();
    assert_eq!(all.len(), mcp::builtin_names().len() + 150);
    assert_eq!(all[0], "dev.echo");
    let wrong = rig
        .modern("tools/list", json!({"cursor": "zz"}))
        .await
        .message()
        .await;
    assert_eq!(wrong["error"]["code"], -32602);
}

#[tokio::test]
async fn the_mvp_profile_shows_only_what_makes_and_runs_tools() {
    let rig = Rig::with(Profile::Mvp, HttpMcpConfig::new(Duration::from_secs(60), 1 << 20)).await;
    let list = rig.result("tools/list", json!({})).await;
    for hidden in [
        "sandbox.exec",
        "sandbox.initialize",
        "system.guard_metrics",
        "system.runtime_config",
        "dev.echo",
        "time.now",
    ] {
        assert!(!names(&list).contains(&hidden), "{hidden}");
        let called = rig
            .modern("tools/call", json!({"name": hidden}))
            .await
            .message()
            .await;
        assert_eq!(called["error"]["code"], -32602, "{hidden}");
    }
    let found = rig.result("server/discover", json!({})).await;
    assert!(
        found["capabilities"].get("resources").is_none() && found["capabilities"].get("prompts").is_none()
    );
    for method in ["resources/list", "prompts/list", "resources/templates/list"] {
        let answer = rig.modern(method, json!({})).await.message().await;
        assert_eq!(answer["error"]["code"], -32601, "{method}");
    }
}

#[tokio::test]
async fn the_prompt_and_its_argument_know_the_tools() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "text.echo", "description": "d", "code": "echo"}))
        .await;
    let prompts = rig.result("prompts/list", json!({})).await;
    assert_eq!(prompts["prompts"][0]["name"], "tool-call-checklist");
    let arguments = json!({"toolName": "text.echo"});
    let prompt = rig
        .result(
            "prompts/get",
            json!({"name": "tool-call-checklist", "arguments": arguments}),
        )
        .await;
    assert!(
        prompt["messages"][0]["content"]["text"]
            .as_str()
            .is_some_and(|text| text.contains("text.echo"))
    );
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "tool-call-checklist"},
        "argument": {"name": "toolName", "value": "t"}
    });
    let completion = rig.result("completion/complete", complete).await;
    assert_eq!(
        completion["completion"]["values"],
        json!(["time.now", "text.echo"])
    );
}

#[tokio::test]
async fn an_interrupted_call_keeps_its_slot_until_its_executor_has_found_that_too() {
    let rig = Rig::new().await;
    let run = rig
        .call("run_js_ephemeral", json!({"code": "break", "runtime": "node"}))
        .await;
    assert_eq!(run["structuredContent"]["outcome"], "interrupted", "{run}");
    assert_eq!(rig.active_executions().await, 1, "its code may run on");
    rig.until_active(0).await;
}
