//! The built-in tools that run no code.

use std::collections::BTreeMap;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use super::Wires;

/// Each tool with its arguments, those that are required first marked so.
const TOOLS: [(&str, &[&str]); 31] = [
    ("dev.echo", &["message!", "uppercase"]),
    ("dynamic.tool.call", &["args", "contentHash", "name!", "revision"]),
    ("dynamic.tool.create", &["adminToken", "tool!", "visibility"]),
    (
        "dynamic.tool.delete",
        &["adminToken", "expectedRevision", "name!", "visibility"],
    ),
    (
        "dynamic.tool.diff",
        &["adminToken", "from!", "name!", "to!", "visibility"],
    ),
    (
        "dynamic.tool.enable",
        &[
            "adminToken",
            "enabled!",
            "expectedRevision",
            "name!",
            "visibility",
        ],
    ),
    ("dynamic.tool.get", &["adminToken", "name!", "visibility"]),
    (
        "dynamic.tool.history",
        &["adminToken", "before", "limit", "name!", "visibility"],
    ),
    ("dynamic.tool.list", &["adminToken", "includeCode", "visibility"]),
    (
        "dynamic.tool.rollback",
        &["adminToken", "expectedRevision", "name!", "to!", "visibility"],
    ),
    (
        "dynamic.tool.update",
        &["adminToken", "expectedRevision", "name!", "patch!", "visibility"],
    ),
    (
        "run_js_ephemeral",
        &["args", "code!", "dependencies", "image", "runtime", "timeoutMs"],
    ),
    ("sandbox.command.get", &["adminToken", "commandId!", "sessionId!"]),
    (
        "sandbox.command.kill",
        &["adminToken", "commandId!", "sessionId!"],
    ),
    (
        "sandbox.exec",
        &[
            "adminToken",
            "background",
            "commands!",
            "continueOnError",
            "sessionId!",
            "timeoutMs",
        ],
    ),
    (
        "sandbox.fs.list",
        &["adminToken", "path", "recursive", "sessionId!"],
    ),
    (
        "sandbox.fs.read",
        &["adminToken", "encoding", "paths!", "sessionId!"],
    ),
    ("sandbox.fs.write", &["adminToken", "files!", "sessionId!"]),
    ("sandbox.initialize", &["adminToken", "image", "timeoutMs"]),
    (
        "sandbox.run_js",
        &[
            "adminToken",
            "args",
            "code!",
            "dependencies",
            "sessionId!",
            "timeoutMs",
        ],
    ),
    ("sandbox.session.list", &["adminToken"]),
    ("sandbox.stop", &["adminToken", "sessionId!"]),
    (
        "system.audit.query",
        &[
            "action",
            "adminToken",
            "client",
            "cursor",
            "limit",
            "outcome",
            "requestId",
            "since",
            "subject",
            "target",
            "tenant",
            "traceId",
            "until",
            "verdict",
        ],
    ),
    ("system.fleet", &["adminToken"]),
    ("system.fleet.drain", &["adminToken", "executorId!", "reason"]),
    ("system.guard_metrics", &[]),
    ("system.health", &[]),
    ("system.runtime_config", &[]),
    ("system.tenant.get", &["adminToken", "tenant"]),
    (
        "system.tenant.set",
        &["adminToken", "expectedRevision", "settings!", "tenant"],
    ),
    ("time.now", &["timeZone"]),
];

/// The arguments as the schema names them, in the notation of [`TOOLS`].
fn arguments(schema: &Value) -> Vec<String> {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut names: Vec<String> = properties
        .map(|(name, _)| {
            if required.contains(&&json!(name)) {
                format!("{name}!")
            } else {
                name.clone()
            }
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_built_in_tool_is_listed_with_the_arguments_of_the_contract() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let expected: BTreeMap<String, Vec<String>> = TOOLS
        .iter()
        .map(|(name, args)| ((*name).to_owned(), args.iter().map(ToString::to_string).collect()))
        .collect();
    for (_, client) in wires.each() {
        let page = client.ask("tools/list", json!({})).await?;
        let tools = page["tools"].as_array().into_iter().flatten();
        let listed: BTreeMap<_, _> = tools
            .map(|tool| {
                (
                    tool["name"].as_str().unwrap_or_default().to_owned(),
                    arguments(&tool["inputSchema"]),
                )
            })
            .collect();
        assert_eq!(listed, expected, "{}", client.describe());
    }
    Ok(())
}

#[tokio::test]
async fn the_parts_of_a_tool_are_named_with_their_limits_in_the_schema_of_create() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let create = server
        .client(Era::Modern)
        .await?
        .listed("dynamic.tool.create")
        .await?;
    let tool = &create["inputSchema"]["properties"]["tool"];
    let parts = arguments(tool);
    let further = ["examples", "inputSchema", "isolation", "outputSchema", "runtime"];
    let contract = [
        "code!",
        "dependencies",
        "description!",
        "enabled",
        "image",
        "name!",
        "timeoutMs",
        "title",
    ];
    let mut expected: Vec<_> = contract.into_iter().chain(further).map(str::to_owned).collect();
    expected.sort();
    assert_eq!(parts, expected);
    let of = |part: &str, rule: &str| tool["properties"][part][rule].clone();
    assert_eq!(of("name", "pattern"), "^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$");
    assert_eq!(
        (of("title", "minLength"), of("title", "maxLength")),
        (json!(1), json!(120))
    );
    assert_eq!(
        (of("description", "minLength"), of("description", "maxLength")),
        (json!(1), json!(4_000))
    );
    assert_eq!(
        (of("code", "minLength"), of("code", "maxLength")),
        (json!(1), json!(200_000))
    );
    assert_eq!(
        (of("timeoutMs", "minimum"), of("timeoutMs", "maximum")),
        (json!(1_000), json!(120_000))
    );
    assert_eq!(of("timeoutMs", "default"), 30_000);
    assert_eq!(of("dependencies", "maxItems"), 64);
    assert_eq!(of("image", "pattern"), "^[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,199}$");
    Ok(())
}

#[tokio::test]
async fn health_says_status_service_version_and_uptime() -> Result<()> {
    let wires = Wires::start(&[]).await?;
    for (_, client) in wires.each().filter(|(tag, _)| tag.starts_with("http")) {
        let health = client.structured("system.health", json!({})).await?;
        assert_eq!(health["status"], "ok", "{health}");
        assert_eq!(health["service"], "dynamic-mcp");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            health["uptimeSeconds"]
                .as_f64()
                .is_some_and(|seconds| seconds < 60.0),
            "{health}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn echo_answers_with_the_message_and_in_capitals_when_asked() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let result = client.call("dev.echo", json!({"message": "grüße"})).await?;
        assert_eq!(
            result["content"][0],
            json!({"type": "text", "text": "grüße"}),
            "{}",
            client.describe()
        );
        let result = client
            .call("dev.echo", json!({"message": "grüße", "uppercase": true}))
            .await?;
        assert_eq!(result["content"][0]["text"], "GRÜSSE", "{}", client.describe());
    }
    Ok(())
}

#[tokio::test]
async fn the_time_is_told_in_utc_or_in_a_zone_by_its_name() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let utc = client.structured("time.now", json!({})).await?;
        assert_eq!(utc["timeZone"], "UTC");
        assert!(utc["iso"].as_str().is_some_and(|iso| iso.ends_with('Z')), "{utc}");
        assert!(
            utc["unixSeconds"]
                .as_u64()
                .is_some_and(|seconds| seconds > 1_700_000_000),
            "{utc}"
        );
        let kolkata = client
            .structured("time.now", json!({"timeZone": "Asia/Kolkata"}))
            .await?;
        assert_eq!(kolkata["timeZone"], "Asia/Kolkata");
        assert!(
            kolkata["iso"].as_str().is_some_and(|iso| iso.ends_with("+05:30")),
            "{kolkata}"
        );
        let refused = client
            .refusal("time.now", json!({"timeZone": "Atlantis"}))
            .await?;
        assert!(
            refused.contains("timeZone") && refused.contains("Atlantis"),
            "{refused}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_runtime_configuration_is_shown_without_secrets() -> Result<()> {
    const SECRET: &str = "a-secret-that-nobody-may-see";
    let wires =
        Wires::without_pool(&[("MCP_ADMIN_TOKEN", SECRET), ("MCP_TOOL_MAX_CONCURRENCY", "3")]).await?;
    for (_, client) in wires.each() {
        let config = client.structured("system.runtime_config", json!({})).await?;
        assert_eq!(config["guard"]["maxConcurrency"], 3, "{config}");
        assert_eq!(config["auth"]["adminToken"], "set", "{config}");
        assert!(!config.to_string().contains(SECRET), "{config}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_argument_is_a_tool_error_that_names_the_field_what_is_allowed_and_what_came() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    let cases = [
        ("dev.echo", json!({}), "message is required and must be a string"),
        (
            "dev.echo",
            json!({"message": 5}),
            "message must be a string, got 5",
        ),
        (
            "dev.echo",
            json!({"message": "a", "upper": true}),
            "upper is not an argument of this tool; allowed: message, uppercase",
        ),
        (
            "system.health",
            json!({"verbose": true}),
            "verbose is not an argument of this tool; it takes no arguments",
        ),
        (
            "dynamic.tool.enable",
            json!({"name": "a.b", "enabled": "yes"}),
            "enabled must be true or false, got the string \"yes\"",
        ),
        (
            "dynamic.tool.delete",
            json!({"name": "a.b", "expectedRevision": 0}),
            "expectedRevision must be a whole number from 1, got 0",
        ),
    ];
    for (_, client) in wires.each() {
        for (tool, arguments, expected) in &cases {
            assert_eq!(
                client.refusal(tool, arguments.clone()).await?,
                *expected,
                "{}",
                client.describe()
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_tool_is_an_invalid_parameter_that_names_it() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let answer = client
            .ask_raw("tools/call", json!({"name": "no.such.tool", "arguments": {}}))
            .await?;
        assert_eq!(answer["error"]["code"], -32_602, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|text| text.contains("no.such.tool")),
            "{answer}"
        );
    }
    Ok(())
}
