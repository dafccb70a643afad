//! The suite calls tools of certain names, which its authors expect a server made for it to have. Ours are made at run
//! time, so those that a tool here can be are simply made.

use anyhow::Result;
use dynamic_mcp_tests::client::McpClient;
use serde_json::{Value, json};

pub async fn make(client: &McpClient) -> Result<()> {
    let make = async |name: &str, code: &str| client.create_tool(name, code, json!({})).await;
    make(
        "test_simple_text",
        "return 'This is a simple text response for testing.';",
    )
    .await?;
    make(
        "test_error_handling",
        "throw new Error('This tool intentionally returns an error for testing');",
    )
    .await?;
    let pause = "await new Promise(next => setTimeout(next, 50));";
    let steps =
        format!("for (const done of [0, 50, 100]) {{ ctx.progress(done, 100); {pause} }} return 'done';");
    make("test_tool_with_progress", &steps).await?;
    let logs = format!(
        "console.log('Tool execution started'); {pause}
         console.log('Tool processing data'); {pause}
         console.log('Tool execution completed'); return 'done';"
    );
    make("test_tool_with_logging", &logs).await?;
    // The suite reads the streams of these two for half a second only. What it looks for on them is a log message that
    // was not asked for, and a request of the server's own.
    for name in ["test_logging_tool", "test_streaming_elicitation"] {
        let kept = json!({"isolation": "tool"});
        client
            .create_tool(name, "console.log('started'); return 1;", kept)
            .await?;
        client.structured(name, json!({})).await?;
    }
    let schema = json!({"inputSchema": json_schema()});
    client
        .create_tool("json_schema_2020_12_tool", "return args;", schema)
        .await?;
    let region = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
    let schema = json!({"inputSchema": {"type": "object", "properties": region}});
    client
        .create_tool("test_custom_headers", "return args;", schema)
        .await?;
    Ok(())
}

/// As the scenario json-schema-2020-12 gives it: with everything that a server might drop on the way.
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}}
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"}
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false
    })
}
