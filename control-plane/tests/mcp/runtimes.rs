//! What tools run on: asked for, by default, or by their code; and what is said where it is not there.

use dynamic_mcp_shared::job::Runtime;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::tools::text;

const ISOLATES: &[Runtime] = &[Runtime::Isolate];
const BOTH: &[Runtime] = &Runtime::ALL;

fn tool(name: &str, further: Value) -> Value {
    let mut tool = json!({"name": name, "description": "d", "code": "return 1"});
    for (key, value) in further.as_object().into_iter().flatten() {
        tool[key] = value.clone();
    }
    json!({"tool": tool})
}

impl Rig {
    async fn created(&self, name: &str, further: Value) -> Value {
        let answer = self.call("dynamic.tool.create", tool(name, further)).await;
        assert_eq!(answer["isError"], false, "{answer}");
        answer["structuredContent"].clone()
    }

    async fn updated(&self, name: &str, patch: Value) -> Value {
        let arguments = json!({"name": name, "patch": patch});
        let answer = self.call("dynamic.tool.update", arguments).await;
        assert_eq!(answer["isError"], false, "{answer}");
        answer["structuredContent"].clone()
    }
}

fn settled(answer: &Value) -> (&str, &str) {
    let tool = &answer["tool"];
    let word = |of: &'static str| tool[of].as_str().expect("a word");
    (word("runtime"), word("runsOn"))
}

#[tokio::test]
async fn what_was_asked_for_and_what_it_came_to_are_answered_and_kept() {
    let rig = Rig::offering(BOTH).await;
    let answer = rig.created("plain", json!({"runtime": "auto"})).await;
    assert_eq!(
        answer["runtime"],
        json!({"requested": "auto", "runsOn": "isolate", "why": "it needs nothing that only Node.js has"})
    );
    let answer = rig
        .created(
            "files",
            json!({"runtime": "auto", "code": "const a = 1;\nreturn await import('node:fs')"}),
        )
        .await;
    assert_eq!(
        answer["runtime"],
        json!({"requested": "auto", "runsOn": "node", "why": "line 2: imports node:fs, which the isolate lacks"})
    );
    let got = rig.call("dynamic.tool.get", json!({"name": "files"})).await;
    assert_eq!(settled(&got["structuredContent"]), ("auto", "node"));
    let listed = rig.call("dynamic.tool.list", json!({})).await;
    let listed = listed["structuredContent"]["tools"].as_array().expect("tools");
    let all: Vec<_> = listed
        .iter()
        .map(|tool| (tool["runtime"].clone(), tool["runsOn"].clone()))
        .collect();
    assert_eq!(
        all,
        [(json!("auto"), json!("node")), (json!("auto"), json!("isolate"))]
    );
}

#[tokio::test]
async fn an_update_settles_an_auto_tool_anew_when_what_decides_it_changes() {
    let rig = Rig::offering(BOTH).await;
    let first = rig.created("shout", json!({"runtime": "auto"})).await;
    let answer = rig.updated("shout", json!({"description": "Shouts."})).await;
    assert_eq!(
        (settled(&answer), &answer["runtime"]),
        (("auto", "isolate"), &Value::Null)
    );
    assert_eq!(answer["tool"]["contentHash"], first["tool"]["contentHash"]);

    let answer = rig.updated("shout", json!({"code": "return Intl"})).await;
    assert_eq!(settled(&answer), ("auto", "node"));
    assert_eq!(
        answer["runtime"]["why"],
        "line 1: uses Intl, which the isolate lacks"
    );
    let answer = rig.updated("shout", json!({"code": "return 1"})).await;
    assert_eq!(settled(&answer), ("auto", "isolate"));
    assert_eq!(answer["tool"]["contentHash"], first["tool"]["contentHash"]);

    let answer = rig.updated("shout", json!({"runtime": "node"})).await;
    assert_eq!(settled(&answer), ("node", "node"));
    assert_ne!(answer["tool"]["contentHash"], first["tool"]["contentHash"]);
    let answer = rig.updated("shout", json!({"code": "return 2"})).await;
    assert_eq!(settled(&answer), ("node", "node"), "only auto looks at the code");
}

#[tokio::test]
async fn without_a_word_docker_is_taken_where_it_is_and_the_isolate_elsewhere() {
    let answer = Rig::offering(BOTH).await.created("plain", json!({})).await;
    assert_eq!(settled(&answer), ("node", "node"));
    let rig = Rig::offering(ISOLATES).await;
    let answer = rig.created("plain", json!({})).await;
    assert_eq!(settled(&answer), ("isolate", "isolate"));
    assert_eq!(
        answer["runtime"]["why"],
        "it is the default where no executor has Docker"
    );
    let config = rig.call("system.runtime_config", json!({})).await;
    let runtimes = &config["structuredContent"]["runtimes"];
    assert_eq!(
        (&runtimes["default"], &runtimes["node"]["available"]),
        (&json!("isolate"), &json!(false))
    );
    assert!(
        runtimes["node"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("Docker Engine"))
    );
    assert_eq!(runtimes["isolate"]["executors"][0]["sandbox"], "test");
}

#[tokio::test]
async fn what_only_containers_have_is_refused_where_there_are_none_or_where_it_contradicts() {
    let rig = Rig::offering(ISOLATES).await;
    let dependencies = json!([{"name": "lodash", "version": "4"}]);
    for (further, kind, expected) in [
        (
            json!({"dependencies": dependencies}),
            "unsatisfiable",
            "Docker Engine",
        ),
        (
            json!({"image": "node:lts-slim"}),
            "unsatisfiable",
            "leave image out",
        ),
        (
            json!({"runtime": "isolate", "image": "node:lts-slim"}),
            "invalid",
            "runtime \"isolate\" takes no image: leave image out",
        ),
        (
            json!({"runtime": "isolate", "dependencies": dependencies}),
            "invalid",
            "runtime \"isolate\" takes no dependencies",
        ),
        (
            json!({"runtime": "node", "dependencies": dependencies}),
            "unavailable",
            "no executor offers runtime \"node\"",
        ),
        (
            json!({"runtime": "deno"}),
            "invalid",
            "tool.runtime must be \"node\", \"isolate\" or \"auto\", got the string \"deno\"",
        ),
    ] {
        let refused = rig
            .call("dynamic.tool.create", tool("plain", further.clone()))
            .await;
        assert_eq!(refused["isError"], true, "{further}");
        assert_eq!(refused["structuredContent"]["kind"], kind, "{refused}");
        assert!(text(&refused).contains(expected), "{further}: {}", text(&refused));
    }
}

#[tokio::test]
async fn a_tool_may_be_made_before_there_is_what_runs_it_and_says_so() {
    let rig = Rig::offering(ISOLATES).await;
    let answer = rig.created("later", json!({"runtime": "node"})).await;
    assert_eq!(settled(&answer), ("node", "node"));
    assert!(
        answer["runtime"]["warning"]
            .as_str()
            .is_some_and(|text| text.contains("Docker Engine"))
    );
    let called = rig.call("later", json!({})).await;
    let called = &called["structuredContent"];
    assert_eq!(
        (&called["outcome"], &called["reason"]),
        (&json!("never_started"), &json!("unsatisfiable"))
    );
    assert!(
        called["error"]
            .as_str()
            .is_some_and(|error| error.contains("no executor offers runtime \"node\" (offered: isolate)")),
        "{called}"
    );
}

#[tokio::test]
async fn a_run_that_is_not_kept_chooses_likewise_and_says_what_it_ran_on() {
    let rig = Rig::offering(BOTH).await;
    for (further, expected) in [
        (json!({}), "node"),
        (json!({"runtime": "isolate"}), "isolate"),
        // The script's name is all there is of its code, and unknown to the isolate.
        (json!({"runtime": "auto"}), "node"),
        (json!({"runtime": "auto", "image": "node:lts-slim"}), "node"),
    ] {
        let mut arguments = json!({"code": "echo", "args": {"a": 1}});
        for (key, value) in further.as_object().into_iter().flatten() {
            arguments[key] = value.clone();
        }
        let ran = rig.call("run_js_ephemeral", arguments).await;
        assert_eq!(ran["structuredContent"]["runtime"], expected, "{further}: {ran}");
        assert_eq!(ran["structuredContent"]["result"], json!({"a": 1}));
    }
    let wrong = json!({"code": "echo", "runtime": "isolate", "image": "node:lts-slim"});
    let refused = rig.call("run_js_ephemeral", wrong).await;
    assert_eq!(refused["structuredContent"]["outcome"], "invalid_input");

    let rig = Rig::offering(ISOLATES).await;
    let lacking = json!({"code": "echo", "dependencies": [{"name": "lodash", "version": "4"}]});
    let refused = rig.call("run_js_ephemeral", lacking).await;
    assert_eq!(refused["structuredContent"]["outcome"], "never_started");
    assert!(text(&refused).contains("Docker Engine"), "{refused}");
}
