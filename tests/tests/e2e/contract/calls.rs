//! A call of a tool: what it answers, however it ends.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};

use super::Wires;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_result_is_wrapped_with_how_the_call_went_and_is_the_text_as_json() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("shout.{tag}");
        client
            .create_tool(&name, "return { upper: args.text.toUpperCase() };", json!({}))
            .await?;
        let result = client.call(&name, json!({"args": {"text": "hello"}})).await?;
        assert_ne!(result["isError"], true, "{result}");
        let structured = &result["structuredContent"];
        assert_eq!(
            keys(structured),
            [
                "durationMs",
                "jobId",
                "ok",
                "outcome",
                "result",
                "revision",
                "runtime"
            ],
            "{result}"
        );
        assert_eq!(structured["ok"], true);
        assert_eq!(structured["result"], json!({"upper": "HELLO"}));
        assert_eq!(structured["outcome"], "ok");
        assert_eq!(structured["revision"], 1);
        assert!(structured["durationMs"].is_u64(), "{result}");
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(text)?, structured["result"]);
        assert_eq!(
            result.get("resultType").is_some(),
            client.era() == Era::Modern,
            "{result}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_result_can_be_any_json_value() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let values = [
        json!(null),
        json!(true),
        json!(-1.5),
        json!("ü\u{2028}\u{0}"),
        json!([[], {}]),
        json!({"a": {"b": [1]}}),
    ];
    for value in values {
        let answer = client
            .structured(
                "run_js_ephemeral",
                json!({"code": "return args.value;", "args": {"value": value}}),
            )
            .await?;
        assert_eq!(answer["result"], value);
    }
    let nothing = client
        .structured("run_js_ephemeral", json!({"code": "args.unused;"}))
        .await?;
    assert_eq!(nothing["result"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_thrown_error_is_a_tool_error_with_its_message_and_nothing_of_the_machinery() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("thrower.{tag}");
        client
            .create_tool(
                &name,
                "const unseen = 1; throw new Error('the reason');",
                json!({}),
            )
            .await?;
        let result = client.call(&name, json!({})).await?;
        assert_eq!(result["isError"], true, "{result}");
        let structured = &result["structuredContent"];
        assert_eq!(
            (&structured["ok"], &structured["outcome"]),
            (&json!(false), &json!("threw")),
            "{result}"
        );
        assert_eq!(structured["error"], "the reason");
        assert_eq!(structured["revision"], 1);
        assert!(structured["durationMs"].is_u64(), "{result}");
        assert!(
            result["content"][0]["text"]
                .as_str()
                .is_some_and(|text| text.starts_with("the reason\n")),
            "{result}"
        );
        for machinery in ["docker", "const unseen"] {
            assert!(!result.to_string().contains(machinery), "{machinery} in {result}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_passes_its_time_is_ended_and_says_so() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("sleeper.{tag}");
        client
            .create_tool(
                &name,
                "await new Promise(() => setInterval(() => {}, 1000));",
                json!({"timeoutMs": 1_000}),
            )
            .await?;
        let started = Instant::now();
        let result = client.call(&name, json!({})).await?;
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(result["structuredContent"]["outcome"], "timed_out", "{result}");
        let took = started.elapsed();
        assert!(
            (Duration::from_secs(1)..Duration::from_secs(10)).contains(&took),
            "{took:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_was_printed_comes_back_and_the_middle_of_too_much_is_left_out_with_a_mark() -> Result<()> {
    let wires = Wires::start(&[("MCP_SANDBOX_MAX_OUTPUT_BYTES", "1000")]).await?;
    for (_, client) in wires.each() {
        let code = "console.log('to stdout'); console.error('to stderr'); return 1;";
        let answer = client
            .structured("run_js_ephemeral", json!({"code": code}))
            .await?;
        assert_eq!(answer["stdout"], "to stdout\n", "{answer}");
        assert_eq!(answer["stderr"], "to stderr\n", "{answer}");
        assert_eq!(answer["outputTruncated"], Value::Null, "{answer}");

        let code = "console.log('HEAD' + 'x'.repeat(50000) + 'TAIL'); return 1;";
        let answer = client
            .structured("run_js_ephemeral", json!({"code": code}))
            .await?;
        assert_eq!(
            (&answer["ok"], &answer["outputTruncated"]),
            (&json!(true), &json!(true)),
            "{answer}"
        );
        assert_eq!(answer["outputBytes"], 50_009, "{answer}");
        let printed = answer["stdout"].as_str().unwrap_or_default();
        assert!(
            printed.starts_with("HEAD") && printed.ends_with("TAIL\n"),
            "{printed}"
        );
        assert!((500..1_500).contains(&printed.len()), "{}", printed.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_result_past_the_output_limit_is_refused_with_the_limit() -> Result<()> {
    let server = AllInOne::start(&[("MCP_SANDBOX_MAX_OUTPUT_BYTES", "1000")]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let result = client
            .call("run_js_ephemeral", json!({"code": "return 'x'.repeat(1001);"}))
            .await?;
        assert_eq!(
            result["structuredContent"]["outcome"], "invalid_output",
            "{result}"
        );
        assert!(
            result["content"][0]["text"].to_string().contains("1000"),
            "{result}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_tool_can_be_called_by_name_without_being_in_a_clients_list() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("double.{tag}");
        let output =
            json!({"type": "object", "properties": {"twice": {"type": "number"}}, "required": ["twice"]});
        client
            .create_tool(
                &name,
                "return { twice: args.n * 2 };",
                json!({"outputSchema": output}),
            )
            .await?;
        let answer = client
            .structured("dynamic.tool.call", json!({"name": name, "args": {"n": 21}}))
            .await?;
        assert_eq!(
            (&answer["ok"], &answer["result"]),
            (&json!(true), &json!({"twice": 42})),
            "{answer}"
        );
        assert_eq!(
            (&answer["outcome"], &answer["revision"]),
            (&json!("ok"), &json!(1)),
            "{answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_run_takes_args_and_stores_nothing() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (_, client) in wires.each() {
        let code = "const { join } = await import('node:path'); return join(...args.parts);";
        let answer = client
            .structured(
                "run_js_ephemeral",
                json!({"code": code, "args": {"parts": ["a", "b"]}}),
            )
            .await?;
        assert_eq!(
            keys(&answer),
            ["durationMs", "jobId", "ok", "outcome", "result", "runtime"],
            "{answer}"
        );
        assert_eq!(answer["result"], "a/b");
        let list = client.structured("dynamic.tool.list", json!({})).await?;
        assert_eq!(list["tools"], json!([]), "{list}");
    }
    Ok(())
}

#[tokio::test]
async fn arguments_of_half_a_megabyte_reach_the_code_unchanged() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    let text = "aé\"\\\n".repeat(100_000);
    for (_, client) in wires.each() {
        let code = "return { chars: args.text.length, same: args.text === 'aé\"\\\\\\n'.repeat(100000) };";
        let answer = client
            .structured("run_js_ephemeral", json!({"code": code, "args": {"text": text}}))
            .await?;
        assert_eq!(
            answer["result"],
            json!({"chars": 500_000, "same": true}),
            "{}",
            client.describe()
        );
    }
    Ok(())
}

#[tokio::test]
async fn code_can_write_to_its_workspace_and_to_tmp() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let code = "const { writeFile, readFile } = await import('node:fs/promises');
        const read = [];
        for (const path of ['/workspace/a.txt', '/tmp/a.txt', 'relative.txt']) {
            await writeFile(path, path);
            read.push(await readFile(path, 'utf8'));
        }
        return read;";
    let answer = client
        .structured("run_js_ephemeral", json!({"code": code}))
        .await?;
    assert_eq!(
        answer["result"],
        json!(["/workspace/a.txt", "/tmp/a.txt", "relative.txt"])
    );
    Ok(())
}

#[tokio::test]
async fn the_first_call_after_an_update_runs_the_new_code() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    for isolation in ["call", "tool"] {
        let name = format!("versioned.{isolation}");
        client
            .create_tool(&name, "return 'old';", json!({"isolation": isolation}))
            .await?;
        assert_eq!(client.structured(&name, json!({})).await?["result"], "old");
        client
            .structured(
                "dynamic.tool.update",
                json!({"name": name, "patch": {"code": "return 'new';"}}),
            )
            .await?;
        let answer = client.structured(&name, json!({})).await?;
        assert_eq!(
            (&answer["result"], &answer["revision"]),
            (&json!("new"), &json!(2)),
            "{isolation}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn only_isolation_tool_lets_one_call_see_what_another_left() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1; return globalThis.calls;";
    for (isolation, second) in [("call", 1), ("tool", 2)] {
        let name = format!("counter.{isolation}");
        client
            .create_tool(&name, code, json!({"isolation": isolation}))
            .await?;
        assert_eq!(client.structured(&name, json!({})).await?["result"], 1);
        assert_eq!(
            client.structured(&name, json!({})).await?["result"],
            second,
            "{isolation}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_call_right_after_the_start_waits_until_code_can_run() -> Result<()> {
    let server = AllInOne::start_in(State::new()?, &[]).await?;
    let clients = [
        server.client(Era::Modern).await?,
        McpClient::over_stdio(Era::Modern, &[]).await?,
    ];
    for client in clients {
        let answer = client
            .structured("run_js_ephemeral", json!({"code": "return 1;"}))
            .await?;
        assert_eq!(answer["outcome"], "ok", "{}", client.describe());
    }
    Ok(())
}
