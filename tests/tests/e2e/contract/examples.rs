//! Examples of a tool, which are run before it is anybody's to call.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::on_every_engine;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

const DOUBLES: &str = "if (args.n === 13) throw new Error('unlucky'); return { n: args.n * 2 }";

on_every_engine!(
    a_tool_whose_examples_hold_is_written_and_one_whose_examples_fail_is_not,
    a_change_under_which_an_example_fails_is_not_written,
    an_example_that_can_not_be_run_now_is_not_said_to_fail,
);

async fn a_tool_whose_examples_hold_is_written_and_one_whose_examples_fail_is_not(on: On) -> Result<()> {
    let server = AllInOne::start(on.settings()).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let good = json!({"examples": [{"args": {"n": 2}, "expect": {"n": 4.0}}, {"args": {"n": 7}}]});
        let name = format!("doubles.{}", era.version());
        let made = client.create_tool(&name, DOUBLES, good.clone()).await?;
        assert_eq!(made["tool"]["examples"], good["examples"], "{made}");
        for (examples, why) in [
            (
                json!([{"args": {"n": 2}}, {"args": {"n": 3}, "expect": {"n": 7}}]),
                "example 2 of 2 fails, and nothing was written: it expects {\"n\":7}, and got {\"n\":6}",
            ),
            (
                json!([{"args": {"n": 13}}]),
                "example 1 of 1 fails, and nothing was written: it ended with threw: unlucky",
            ),
            (
                json!([{"args": {}, "expect": null}]),
                "example 1 of 1 fails, and nothing was written: it expects null, and got {\"n\":null}",
            ),
        ] {
            let tool = json!({"name": "never", "description": "d", "code": DOUBLES, "examples": examples});
            let refused = client.call("dynamic.tool.create", json!({"tool": tool})).await?;
            assert_eq!(refused["structuredContent"]["kind"], "example", "{refused}");
            assert_eq!(refused["structuredContent"]["error"], why, "{refused}");
        }
        assert!(!client.tool_names().await?.contains(&"never".to_owned()));
    }
    Ok(())
}

async fn an_example_that_can_not_be_run_now_is_not_said_to_fail(on: On) -> Result<()> {
    let limit = [("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1")];
    let server = AllInOne::start(&[on.settings(), &limit].concat()).await?;
    let client = server.client(Era::Modern).await?;
    let tool = json!({
        "name": "doubles", "description": "d", "code": DOUBLES, "examples": [{"args": {"n": 1}}, {"args": {"n": 2}}],
    });
    let refused = client.call("dynamic.tool.create", json!({"tool": tool})).await?;
    let refused = &refused["structuredContent"];
    assert_eq!(refused["kind"], "unavailable", "{refused}");
    assert!(
        refused["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0),
        "{refused}"
    );
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("example 2 could not be run now"), "{error}");
    Ok(())
}

async fn a_change_under_which_an_example_fails_is_not_written(on: On) -> Result<()> {
    let server = AllInOne::start(on.settings()).await?;
    let client = server.client(Era::Modern).await?;
    let examples = json!({"examples": [{"args": {"n": 2}, "expect": {"n": 4}}]});
    client.create_tool("doubles", DOUBLES, examples).await?;
    let update = |patch: Value| json!({"name": "doubles", "patch": patch});
    let refused = client
        .refusal(
            "dynamic.tool.update",
            update(json!({"code": "return { n: args.n * 3 }"})),
        )
        .await?;
    assert!(
        refused.contains("expects {\"n\":4}, and got {\"n\":6}"),
        "{refused}"
    );
    let called = client.structured("doubles", json!({"args": {"n": 2}})).await?;
    assert_eq!(
        (&called["result"], &called["revision"]),
        (&json!({"n": 4}), &json!(1))
    );

    let both =
        json!({"code": "return { n: args.n * 3 }", "examples": [{"args": {"n": 2}, "expect": {"n": 6}}]});
    client.structured("dynamic.tool.update", update(both)).await?;
    // Words need no trial, and take no permit.
    client
        .structured("dynamic.tool.update", update(json!({"title": "Triples"})))
        .await?;
    let metrics = client.structured("system.guard_metrics", json!({})).await?;
    assert_eq!(metrics["scopes"][0]["total"], 4, "{metrics}");
    Ok(())
}
