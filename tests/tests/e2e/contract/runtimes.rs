//! What a tool runs on: as it was asked for, by default, or as its code asks; and what is said where it is not to be had.
//! What needs a Docker Engine is in the module of that name.

use std::time::Duration;

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::process::{Process, binary, own_settings};
use dynamic_mcp_tests::server::{AllInOne, JOIN_TOKEN};
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};

use super::Wires;

const LODASH: (&str, &str) = ("lodash", "^4.17.0");

/// Without Docker and without a word about a default.
fn only_isolates() -> Vec<(&'static str, &'static str)> {
    let settings = On::Isolate.settings().iter().copied();
    settings
        .filter(|(name, _)| *name != "MCP_DEFAULT_RUNTIME")
        .collect()
}

fn dependencies() -> Value {
    json!([{"name": LODASH.0, "version": LODASH.1}])
}

#[tokio::test]
async fn a_tool_runs_on_the_isolate_where_there_is_no_docker() -> Result<()> {
    let wires = Wires::start(&only_isolates()).await?;
    for (tag, client) in wires.each() {
        let name = format!("plain.{tag}");
        let created = client
            .create_tool(&name, "return typeof process", json!({}))
            .await?;
        assert_eq!(
            created["runtime"],
            json!({
                "requested": "isolate",
                "runsOn": "isolate",
                "why": "it is the default where no executor has Docker"
            })
        );
        let called = client.structured(&name, json!({})).await?;
        assert_eq!(called["result"], "undefined", "{called}");
        assert_eq!(called["runtime"], "isolate", "{called}");
        let ran = client
            .structured("run_js_ephemeral", json!({"code": "return 1"}))
            .await?;
        assert_eq!(ran["runtime"], "isolate", "{ran}");
        for shown in [
            &client
                .structured("dynamic.tool.get", json!({"name": name}))
                .await?["tool"],
            &created["tool"],
        ] {
            assert_eq!(
                (&shown["runtime"], &shown["runsOn"]),
                (&json!("isolate"), &json!("isolate"))
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn auto_looks_at_the_code_and_says_what_it_found() -> Result<()> {
    let wires = Wires::without_pool(&only_isolates()).await?;
    let cases = [
        (
            "return args.text.length",
            "isolate",
            "it needs nothing that only Node.js has",
        ),
        (
            "const { createHash } = await import('node:crypto');\nreturn createHash('sha256').update('a').digest('hex')",
            "isolate",
            "it needs nothing that only Node.js has",
        ),
        (
            "// process.exit()\nreturn 'require'",
            "isolate",
            "it needs nothing that only Node.js has",
        ),
        (
            "const a = 1;\nreturn a + process.pid",
            "node",
            "line 2: uses process, which the isolate lacks",
        ),
        (
            "return await import('node:fs')",
            "node",
            "line 1: imports node:fs, which the isolate lacks",
        ),
        (
            "return (1e6).toLocaleString('de')",
            "node",
            "line 1: uses toLocaleString, which needs the locale data that the isolate lacks",
        ),
        (
            "return eval('1')",
            "node",
            "line 1: uses eval, which can hide anything",
        ),
    ];
    for (tag, client) in wires.each() {
        for (number, (code, runs_on, why)) in cases.iter().enumerate() {
            let name = format!("auto.{tag}.{number}");
            let created = client
                .create_tool(&name, code, json!({"runtime": "auto"}))
                .await?;
            let runtime = &created["runtime"];
            assert_eq!(
                (&runtime["requested"], &runtime["runsOn"]),
                (&json!("auto"), &json!(runs_on)),
                "{code}"
            );
            assert_eq!(runtime["why"], *why, "{code}");
            assert_eq!(runtime["warning"].is_string(), *runs_on == "node", "{code}");
            assert_eq!(
                (&created["tool"]["runtime"], &created["tool"]["runsOn"]),
                (&json!("auto"), &json!(runs_on))
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_auto_takes_for_the_isolate_runs_there() -> Result<()> {
    let wires = Wires::start(&only_isolates()).await?;
    let codes = [
        (
            "return new URL('http://a/?q=1').searchParams.get('q')",
            json!("1"),
        ),
        ("return Buffer.from('aGk=', 'base64').toString()", json!("hi")),
        (
            "return (await import('node:path')).join('a', '..', 'b')",
            json!("b"),
        ),
        (
            "const { createHash } = await import('crypto'); return createHash('md5').update('').digest('hex')",
            json!("d41d8cd98f00b204e9800998ecf8427e"),
        ),
        (
            "return typeof window + typeof globalThis.nobody",
            json!("undefinedundefined"),
        ),
    ];
    for (tag, client) in wires.each() {
        for (number, (code, expected)) in codes.iter().enumerate() {
            let name = format!("runs.{tag}.{number}");
            let created = client
                .create_tool(&name, code, json!({"runtime": "auto"}))
                .await?;
            assert_eq!(created["runtime"]["runsOn"], "isolate", "{code}: {created}");
            assert_eq!(
                client.structured(&name, json!({})).await?["result"],
                *expected,
                "{code}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_update_settles_an_auto_tool_anew_and_leaves_the_others_alone() -> Result<()> {
    let wires = Wires::without_pool(&only_isolates()).await?;
    for (tag, client) in wires.each() {
        let update = async |name: &str, patch: Value| {
            client
                .structured("dynamic.tool.update", json!({"name": name, "patch": patch}))
                .await
        };
        let (auto, fixed) = (format!("moves.{tag}"), format!("stays.{tag}"));
        let first = client
            .create_tool(&auto, "return 1", json!({"runtime": "auto"}))
            .await?;
        let moved = update(&auto, json!({"code": "return process"})).await?;
        assert_eq!(moved["tool"]["runsOn"], "node", "{moved}");
        let back = update(&auto, json!({"code": "return 1"})).await?;
        assert_eq!(back["tool"]["runsOn"], "isolate", "{back}");
        assert_eq!(back["tool"]["contentHash"], first["tool"]["contentHash"]);
        let renamed = update(&auto, json!({"title": "Moves"})).await?;
        assert_eq!(
            (&renamed["runtime"], &renamed["tool"]["runsOn"]),
            (&Value::Null, &json!("isolate"))
        );

        client
            .create_tool(&fixed, "return 1", json!({"runtime": "isolate"}))
            .await?;
        let stayed = update(&fixed, json!({"code": "return process"})).await?;
        assert_eq!(stayed["tool"]["runsOn"], "isolate", "{stayed}");
        let wrong = json!({"name": fixed, "patch": {"dependencies": dependencies()}});
        let refused = client.refusal("dynamic.tool.update", wrong).await?;
        assert!(
            refused.starts_with("runtime \"isolate\" takes no dependencies"),
            "{refused}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_needs_docker_is_refused_where_there_is_none_with_the_way_to_get_it() -> Result<()> {
    let wires = Wires::without_pool(&only_isolates()).await?;
    let named = [
        json!({"dependencies": dependencies()}),
        json!({"image": "node:lts-slim"}),
        json!({"runtime": "node", "dependencies": dependencies()}),
    ];
    for (_, client) in wires.each() {
        for further in &named {
            let mut tool = json!({"name": "needs.docker", "description": "d", "code": "return 1"});
            let mut run = json!({"code": "return 1"});
            for (key, value) in further.as_object().context("an object")? {
                tool[key] = value.clone();
                run[key] = value.clone();
            }
            for (of, arguments) in [
                ("dynamic.tool.create", json!({"tool": tool})),
                ("run_js_ephemeral", run),
            ] {
                let refused = client.refusal(of, arguments).await?;
                assert!(
                    refused.contains("needs a Docker Engine"),
                    "{of} {further}: {refused}"
                );
            }
        }
        assert!(!client.tool_names().await?.contains(&"needs.docker".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn a_contradiction_names_both_sides() -> Result<()> {
    let wires = Wires::without_pool(&only_isolates()).await?;
    for (_, client) in wires.each() {
        let both = json!({
            "name": "both.ways", "description": "d", "code": "return 1",
            "runtime": "isolate", "image": "node:lts-slim", "dependencies": dependencies()
        });
        let refused = client
            .refusal("dynamic.tool.create", json!({"tool": both}))
            .await?;
        assert!(
            refused.starts_with(
                "runtime \"isolate\" takes no image and dependencies: leave image and dependencies out"
            ),
            "{refused}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_tool_for_node_can_be_made_without_docker_and_never_starts() -> Result<()> {
    let wires = Wires::without_pool(&only_isolates()).await?;
    for (tag, client) in wires.each() {
        let name = format!("later.{tag}");
        let created = client
            .create_tool(&name, "return 1", json!({"runtime": "node"}))
            .await?;
        assert!(created["runtime"]["warning"].is_string(), "{created}");
        let called = client.call(&name, json!({})).await?;
        let called = &called["structuredContent"];
        assert_eq!(
            (&called["outcome"], &called["runtime"]),
            (&json!("never_started"), &json!("node")),
            "{called}"
        );
        let error = called["error"].as_str().context("an error")?;
        assert!(
            error.contains("no executor offers runtime \"node\" (offered: isolate)"),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_offered_is_shown_to_agents_and_to_operators() -> Result<()> {
    let server = AllInOne::start(&only_isolates()).await?;
    let client = server.client(dynamic_mcp_tests::client::Era::Modern).await?;
    let config = client.structured("system.runtime_config", json!({})).await?;
    let runtimes = &config["runtimes"];
    assert_eq!(
        (&runtimes["default"], &runtimes["defaultSetting"]),
        (&json!("isolate"), &Value::Null)
    );
    assert_eq!(
        (&runtimes["isolate"]["available"], &runtimes["node"]["available"]),
        (&json!(true), &json!(false))
    );
    assert!(
        runtimes["node"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("Docker Engine")),
        "{runtimes}"
    );
    let sandbox = runtimes["isolate"]["executors"][0]["sandbox"]
        .as_str()
        .context("a tier")?;
    let ready: Value = reqwest::get(format!("{}/readyz", server.base_url))
        .await?
        .json()
        .await?;
    assert_eq!(ready["status"], "ready", "nobody asked for Docker here: {ready}");
    let executors = ready["executors"].as_object().context("executors")?;
    assert_eq!(executors.len(), 1);
    assert!(
        executors
            .values()
            .all(|runtimes| *runtimes == json!({"isolate": sandbox})),
        "{ready}"
    );
    Ok(())
}

mod docker {
    use super::*;

    #[tokio::test]
    async fn each_tool_runs_where_it_belongs() -> Result<()> {
        let server = AllInOne::start(&[("MCP_EXECUTION_ENGINE", "auto")]).await?;
        let client = server.client(dynamic_mcp_tests::client::Era::Modern).await?;
        let code = "return typeof process";
        for (runtime, runs_on, expected) in [
            (Value::Null, "node", "object"),
            (json!("node"), "node", "object"),
            (json!("isolate"), "isolate", "undefined"),
            (json!("auto"), "node", "object"),
        ] {
            let mut run = json!({"code": code});
            if !runtime.is_null() {
                run["runtime"] = runtime.clone();
            }
            let ran = client.structured("run_js_ephemeral", run).await?;
            assert_eq!(
                (&ran["runtime"], &ran["result"]),
                (&json!(runs_on), &json!(expected)),
                "{runtime}"
            );
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_operators_default_is_taken_where_an_author_says_nothing() -> Result<()> {
        let settings = [("MCP_EXECUTION_ENGINE", "auto"), ("MCP_DEFAULT_RUNTIME", "auto")];
        let server = AllInOne::start(&settings).await?;
        let client = server.client(dynamic_mcp_tests::client::Era::Modern).await?;
        let plain = client.create_tool("plain", "return 1", json!({})).await?;
        assert_eq!(
            (&plain["tool"]["runtime"], &plain["tool"]["runsOn"]),
            (&json!("auto"), &json!("isolate"))
        );
        let image = client
            .create_tool("image", "return 1", json!({"image": "node:lts-slim"}))
            .await?;
        assert_eq!(
            (&image["tool"]["runtime"], &image["tool"]["runsOn"]),
            (&json!("auto"), &json!("node"))
        );
        for name in ["plain", "image"] {
            assert_eq!(client.structured(name, json!({})).await?["result"], 1);
        }
        Ok(())
    }
}

/// As a unit with `Nice=` in it, or a job of lesser importance.
#[tokio::test]
async fn an_executor_that_was_started_nicer_than_its_isolates_would_be_offers_them() -> Result<()> {
    let state = State::new()?;
    let mut command = tokio::process::Command::new("nice");
    command.args(["-n", "15"]).arg(binary("dynamic-mcp-executor")?);
    for variable in own_settings() {
        command.env_remove(variable);
    }
    command
        .current_dir(state.path())
        .kill_on_drop(true)
        .env("MCP_LOG_FORMAT", "json")
        .env("MCP_EXECUTION_ENGINE", "isolate")
        .env("MCP_EXECUTOR_BIND", "127.0.0.1:0")
        .env("MCP_EXECUTOR_STATE_DIR", state.path())
        .env("MCP_JOIN_TOKEN", JOIN_TOKEN);
    let mut executor = Process::spawn("dynamic-mcp-executor", command)?;
    executor.logged("executor started").await?;
    assert!(executor.terminate(Duration::from_secs(20)).await);
    Ok(())
}
