//! The limits of a tool: each is refused just past its edge, with the field and what is allowed, and taken at its edge.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use super::Wires;

async fn refused(client: &McpClient, further: Value) -> Result<String> {
    let mut tool = json!({"name": "limits", "description": "Tries limits.", "code": "return 1;"});
    if let (Some(tool), Value::Object(further)) = (tool.as_object_mut(), further) {
        tool.extend(further);
    }
    client.refusal("dynamic.tool.create", json!({"tool": tool})).await
}

#[tokio::test]
async fn a_name_outside_the_pattern_or_reserved_is_refused() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let too_long = "a".repeat(65);
    let wrong = [
        "ab",
        "1abc",
        ".abc",
        "a b c",
        "a/b/c",
        "naïve",
        "",
        too_long.as_str(),
        "dynamic.mine",
        "sandbox.mine",
        "system.mine",
        "dev.echo",
        "time.now",
        "run_js_ephemeral",
    ];
    for (_, client) in wires.each() {
        for name in wrong {
            let text = refused(client, json!({"name": name})).await?;
            assert!(text.starts_with("name "), "{name:?}: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_name_at_the_edge_of_the_pattern_is_taken() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    for name in [
        "abc".to_owned(),
        "Z9._:-x".to_owned(),
        "a".repeat(64),
        "dynamical.x".to_owned(),
    ] {
        client.create_tool(&name, "return 1;", json!({})).await?;
        assert!(client.tool_names().await?.contains(&name), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_text_that_is_too_short_or_too_long_is_refused_with_its_range() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        for (field, max) in [("title", 120), ("description", 4_000), ("code", 200_000)] {
            let expected = |got: usize| format!("{field} must have 1 to {max} characters, got {got}");
            assert_eq!(refused(client, json!({field: ""})).await?, expected(0));
            assert_eq!(
                refused(client, json!({field: "x".repeat(max + 1)})).await?,
                expected(max + 1)
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn texts_are_counted_in_characters_and_taken_at_their_longest() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let name = format!("longest.{}", era.version());
        let code = format!("return 1; //{}", "é".repeat(200_000 - 12));
        let longest = json!({"title": "ü".repeat(120), "description": "ß".repeat(4_000)});
        let created = client.create_tool(&name, &code, longest).await?;
        assert_eq!(created["tool"]["codeSizeBytes"], code.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_time_out_outside_its_range_is_refused_with_the_range() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        for wrong in [json!(999), json!(120_001), json!(0)] {
            let text = refused(client, json!({"timeoutMs": wrong})).await?;
            assert_eq!(
                text,
                format!("timeoutMs must be an integer from 1000 to 120000, got {wrong}")
            );
            let text = client
                .refusal(
                    "run_js_ephemeral",
                    json!({"code": "return 1;", "timeoutMs": wrong}),
                )
                .await?;
            assert_eq!(
                text.lines().next(),
                Some(format!("timeoutMs must be an integer from 1000 to 120000, got {wrong}").as_str())
            );
        }
        for wrong in [json!(-1), json!(1_000.5), json!("5000")] {
            let text = refused(client, json!({"timeoutMs": wrong})).await?;
            assert!(
                text.starts_with("tool.timeoutMs must be a whole number of milliseconds, got "),
                "{text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_operator_can_allow_less_time_than_the_contract() -> Result<()> {
    let server = AllInOne::start_without_pool(&[("MCP_SANDBOX_MAX_TIMEOUT_MS", "10000")]).await?;
    let client = server.client(Era::Modern).await?;
    let text = refused(&client, json!({"timeoutMs": 10_001})).await?;
    assert!(text.contains("10000") && text.contains("10001"), "{text}");
    let created = client.create_tool("default.time", "return 1;", json!({})).await?;
    assert_eq!(
        created["tool"]["timeoutMs"], 10_000,
        "the default is cut to what is allowed"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_that_is_malformed_or_not_on_the_list_is_refused_with_the_list() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let too_long = "a".repeat(201);
    for (_, client) in wires.each() {
        for wrong in ["", "-node", "no de", "node@sha256", too_long.as_str()] {
            let text = refused(client, json!({"image": wrong})).await?;
            assert!(text.starts_with("image "), "{wrong:?}: {text}");
        }
        let text = refused(client, json!({"image": "alpine:3"})).await?;
        assert_eq!(
            text,
            "image \"alpine:3\" is not allowed by the deployment's policy (MCP_SANDBOX_ALLOWED_IMAGES); allowed images: \
             node:lts-slim"
        );
        let text = client
            .refusal(
                "run_js_ephemeral",
                json!({"code": "return 1;", "image": "alpine:3"}),
            )
            .await?;
        assert!(
            text.contains("alpine:3") && text.contains("node:lts-slim"),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn too_many_dependencies_are_refused_with_how_many_are_allowed() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let many: Vec<Value> = (0..33)
        .map(|n| json!({"name": format!("package-{n}"), "version": "1"}))
        .collect();
    for (_, client) in wires.each() {
        let text = refused(client, json!({"dependencies": many})).await?;
        assert_eq!(text, "33 dependencies given, at most 32 are allowed");
        let text = client
            .refusal(
                "run_js_ephemeral",
                json!({"code": "return 1;", "dependencies": many}),
            )
            .await?;
        assert!(text.contains("33") && text.contains("32"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dependency_is_a_name_with_a_range_or_tag_and_nothing_else() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let wrong = [
        json!([{"name": "Not A Name", "version": "1"}]),
        json!([{"name": "../up", "version": "1"}]),
        json!([{"name": "lodash", "version": "npm:other@1"}]),
        json!([{"name": "lodash", "version": "git+https://example.com/a.git"}]),
        json!([{"name": "lodash", "version": "file:../a"}]),
        json!([{"name": "lodash", "version": "https://example.com/a.tgz"}]),
        json!([{"name": "lodash", "version": "1"}, {"name": "lodash", "version": "2"}]),
        json!([{"name": "node-pty", "version": "1"}]),
        json!([{"name": "lodash"}]),
        json!(["lodash"]),
        json!({"lodash": "1"}),
    ];
    for (_, client) in wires.each() {
        for dependencies in &wrong {
            let text = refused(client, json!({"dependencies": dependencies})).await?;
            assert!(
                ["dependenc", "package"].iter().any(|word| text.contains(word)),
                "{dependencies}: {text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_that_is_none_or_not_of_an_object_is_refused_by_field() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let wrong = [
        json!({"type": "string"}),
        json!({}),
        json!("object"),
        json!({"type": "object", "properties": {"a": {"type": "text"}}}),
    ];
    for (_, client) in wires.each() {
        for schema in &wrong {
            for field in ["inputSchema", "outputSchema"] {
                let text = refused(client, json!({field: schema})).await?;
                assert!(text.contains(field), "{schema}: {text}");
            }
        }
        let remote =
            json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}});
        let text = refused(client, json!({"inputSchema": remote})).await?;
        assert!(text.contains("inputSchema"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_field_of_a_tool_or_patch_is_named() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let text = refused(client, json!({"colour": "red"})).await?;
        assert!(
            text.starts_with("tool.colour is not an argument of this tool; allowed: name, title,"),
            "{text}"
        );
        let text = client
            .refusal(
                "dynamic.tool.update",
                json!({"name": "limits", "patch": {"name": "other"}}),
            )
            .await?;
        assert!(text.starts_with("patch.name is not an argument"), "{text}");
    }
    Ok(())
}
