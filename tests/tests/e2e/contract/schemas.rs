//! Tools with schemas of their own: arguments are checked before anything runs, results before anyone sees them.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use super::Wires;

/// Where `_meta` says how a call with an output schema went.
const META: &str = "dynamic-mcp/call";

fn input_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1},
            "times": {"type": "integer", "minimum": 1, "maximum": 5},
            "mood": {"enum": ["calm", "loud"]},
            "tags": {"type": "array", "items": {"type": "string"}}
        },
        "required": ["text"],
        "additionalProperties": false
    })
}

#[tokio::test]
async fn a_tool_with_an_input_schema_takes_its_properties_themselves() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("repeat.{tag}");
        client
            .create_tool(
                &name,
                "return args.text.repeat(args.times ?? 1);",
                json!({"inputSchema": input_schema()}),
            )
            .await?;
        let answer = client
            .structured(&name, json!({"text": "ab", "times": 2}))
            .await?;
        assert_eq!(answer["result"], "abab");
        let answer = client
            .structured("dynamic.tool.call", json!({"name": name, "args": {"text": "ab"}}))
            .await?;
        assert_eq!(answer["result"], "ab");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_argument_is_refused_with_field_what_is_allowed_and_what_came_and_nothing_runs() -> Result<()>
{
    let wires = Wires::without_pool(&[]).await?;
    let cases = [
        (json!({}), "text is required"),
        (json!({"text": 5}), "text must be a string, got 5"),
        (
            json!({"text": ""}),
            "text must have at least 1 characters, got \"\"",
        ),
        (json!({"text": "a", "times": 9}), "times must be at most 5, got 9"),
        (
            json!({"text": "a", "times": 1.5}),
            "times must be an integer, got 1.5",
        ),
        (
            json!({"text": "a", "mood": "sad"}),
            "mood must be one of [\"calm\",\"loud\"], got \"sad\"",
        ),
        (
            json!({"text": "a", "tags": ["b", 1]}),
            "tags[1] must be a string, got 1",
        ),
        (
            json!({"text": "a", "colour": "red"}),
            "colour is not known here; allowed: mood, tags, text, times",
        ),
        (
            json!({"args": {"text": "a"}}),
            "args is not known here; allowed: mood, tags, text, times",
        ),
    ];
    for (tag, client) in wires.each() {
        let name = format!("checked.{tag}");
        client
            .create_tool(&name, "return 'it ran';", json!({"inputSchema": input_schema()}))
            .await?;
        for (arguments, expected) in &cases {
            for result in [
                client.call(&name, arguments.clone()).await?,
                client
                    .call("dynamic.tool.call", json!({"name": name, "args": arguments}))
                    .await?,
            ] {
                assert_eq!(result["isError"], true, "{arguments}: {result}");
                let structured = &result["structuredContent"];
                assert_eq!(
                    (&structured["ok"], &structured["outcome"]),
                    (&json!(false), &json!("invalid_input")),
                    "{result}"
                );
                let error = structured["error"].as_str().unwrap_or_default();
                assert!(error.contains(expected), "{arguments}: {error}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_tool_without_a_schema_takes_only_args() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("loose.{tag}");
        client.create_tool(&name, "return args;", json!({})).await?;
        let text = client.refusal(&name, json!({"text": "a"})).await?;
        assert_eq!(text, "text is not an argument of this tool; allowed: args");
        let text = client.refusal(&name, json!({"args": "a"})).await?;
        assert_eq!(text, "args must be an object, got the string \"a\"");
    }
    Ok(())
}

#[tokio::test]
async fn with_an_output_schema_the_structured_content_is_the_result_and_meta_says_the_rest() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("typed.{tag}");
        let output =
            json!({"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]});
        client
            .create_tool(
                &name,
                "return { sum: args.a + args.b };",
                json!({"outputSchema": output}),
            )
            .await?;
        let result = client.call(&name, json!({"args": {"a": 1, "b": 2}})).await?;
        assert_eq!(result["structuredContent"], json!({"sum": 3}), "{result}");
        let about = &result["_meta"][META];
        assert_eq!(
            (&about["ok"], &about["outcome"], &about["revision"]),
            (&json!(true), &json!("ok"), &json!(1)),
            "{result}"
        );
        assert!(about["durationMs"].is_u64(), "{result}");
    }
    Ok(())
}

#[tokio::test]
async fn a_result_that_does_not_fit_the_output_schema_is_an_error_and_is_not_shown_as_structured()
-> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("mistyped.{tag}");
        let output =
            json!({"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]});
        client
            .create_tool(&name, "return { sum: 'three' };", json!({"outputSchema": output}))
            .await?;
        let result = client.call(&name, json!({})).await?;
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(result["structuredContent"], Value::Null, "{result}");
        assert_eq!(result["_meta"][META]["outcome"], "invalid_output", "{result}");
        assert!(
            result["content"][0]["text"]
                .to_string()
                .contains("sum must be a number"),
            "{result}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_refers_to_its_own_parts() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let schema = json!({
        "type": "object",
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "properties": {"from": {"$ref": "#/$defs/point"}}
    });
    client
        .create_tool("referring", "return args.from.x;", json!({"inputSchema": schema}))
        .await?;
    assert_eq!(
        client.structured("referring", json!({"from": {"x": 4}})).await?["result"],
        4
    );
    let text = client.refusal("referring", json!({"from": {"x": "4"}})).await?;
    assert!(text.contains("from.x must be a number"), "{text}");
    Ok(())
}
