//! Schemas of tools that are to fetch, to recurse or to cost without end in the control plane, which many tenants share.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::Era;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Scene;

/// On a busy machine, for what takes milliseconds on an idle one.
const PROMPT: Duration = Duration::from_secs(20);

fn of(property: Value) -> Value {
    json!({"type": "object", "properties": {"x": property}})
}

#[tokio::test]
async fn a_schema_that_fetches_recurses_or_explodes_is_refused_and_says_why() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    // Whoever fetches it is noticed.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await?;
    let address = elsewhere.local_addr()?;
    let mut doubling = json!({"type": "object", "$defs": {"d0": {"type": "string"}}});
    for level in 1..20 {
        let below = format!("#/$defs/d{}", level - 1);
        doubling["$defs"][format!("d{level}")] = json!({"allOf": [{"$ref": below}, {"$ref": below}]});
    }
    doubling["properties"] = json!({"x": {"$ref": "#/$defs/d19"}});
    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({"type": "object", "properties": {"x": deep}});
    }
    deep["type"] = json!("object");
    let patterns: serde_json::Map<_, _> = (0..101).map(|n| (format!("^a{n}$"), json!({}))).collect();
    let cases = [
        (
            of(json!({"$ref": format!("http://{address}/schema.json")})),
            "nothing is fetched",
        ),
        (of(json!({"$ref": "file:///etc/passwd"})), "nothing is fetched"),
        (of(json!({"$ref": "other.json#/a"})), "nothing is fetched"),
        (
            json!({"type": "object", "$schema": format!("http://{address}/meta")}),
            "unknown $schema",
        ),
        (
            of(json!({"$id": format!("http://{address}/"), "$ref": "#/x"})),
            "$id below its top level",
        ),
        (of(json!({"$dynamicRef": "#node"})), "$dynamicRef"),
        (of(json!({"$ref": "#"})), "recursive"),
        (of(json!({"$ref": "#/properties/x"})), "recursive"),
        (
            json!({"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                "properties": {"x": {"$ref": "#/$defs/a"}}}),
            "recursive",
        ),
        (of(json!({"$ref": "#/$defs/none"})), "leads nowhere"),
        (doubling, "too complex"),
        (deep, "nested more than"),
        (of(json!({"type": "string", "pattern": "^(a)\\1$"})), "RE2"),
        (of(json!({"type": "string", "pattern": "(?=a)b"})), "RE2"),
        (
            of(json!({"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"})),
            "moderate size",
        ),
        (
            of(json!({"type": "object", "patternProperties": patterns})),
            "patterns",
        ),
        (of(json!({"enum": ["x".repeat(70_000)]})), "too large"),
    ];
    for (schema, why) in cases {
        for field in ["inputSchema", "outputSchema"] {
            let tool = json!({"name": "schemed", "description": "d", "code": "return 1", field: schema});
            let begun = Instant::now();
            let said = client
                .refusal("dynamic.tool.create", json!({"tool": tool}))
                .await?;
            assert!(said.starts_with(field) && said.contains(why), "{why}: {said}");
            assert!(begun.elapsed() < PROMPT, "{why}: {:?}", begun.elapsed());
        }
        scene.neighbour_is_served().await?;
    }
    let fetched = tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await;
    assert!(fetched.is_err(), "the schema was fetched");
    Ok(())
}

#[tokio::test]
async fn a_pattern_that_other_engines_never_finish_is_checked_at_once_beside_a_neighbour() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let schema = of(json!({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}));
    client
        .create_tool("patterned", "return 1", json!({"inputSchema": schema}))
        .await?;
    let begun = Instant::now();
    let (refused, neighbour) = tokio::join!(
        client.call("patterned", json!({"x": "a".repeat(200_000)})),
        scene.neighbour_is_served()
    );
    neighbour?;
    let refused = refused?;
    assert_eq!(
        refused["structuredContent"]["outcome"], "invalid_input",
        "{refused}"
    );
    let text = refused["content"][0]["text"].as_str().context("a text")?;
    assert!(text.len() < 2_000, "{} characters", text.len());
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn arguments_that_would_take_a_check_too_long_are_refused_for_their_size() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let many: Vec<Value> = (0..900)
        .map(|n| json!({"type": "object", "required": [format!("f{n}")]}))
        .collect();
    let schema = of(json!({"type": "array", "items": {"anyOf": many}}));
    client
        .create_tool("weighty", "return 1", json!({"inputSchema": schema}))
        .await?;
    let begun = Instant::now();
    let (refused, neighbour) = tokio::join!(
        client.call("weighty", json!({"x": vec![json!({}); 200_000]})),
        scene.neighbour_is_served()
    );
    neighbour?;
    let refused = refused?;
    assert_eq!(
        refused["structuredContent"]["outcome"], "invalid_input",
        "{refused}"
    );
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    Ok(())
}
