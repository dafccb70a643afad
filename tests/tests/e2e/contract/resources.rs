//! The resources, the prompt, and the completion of its argument.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Wires;

const URIS: [&str; 4] = [
    "dynamic://service/meta",
    "dynamic://service/runtime-config",
    "dynamic://metrics/guard",
    "dynamic://fleet",
];

async fn read(client: &dynamic_mcp_tests::client::McpClient, uri: &str) -> Result<Value> {
    let read = client.ask("resources/read", json!({"uri": uri})).await?;
    let contents = &read["contents"][0];
    assert_eq!(
        (&contents["uri"], &contents["mimeType"]),
        (&json!(uri), &json!("application/json")),
        "{read}"
    );
    Ok(serde_json::from_str(
        contents["text"].as_str().context("a text")?,
    )?)
}

#[tokio::test]
async fn the_resources_are_listed_and_say_what_the_tools_say() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let list = client.ask("resources/list", json!({})).await?;
        let resources = list["resources"].as_array().into_iter().flatten();
        let uris: Vec<_> = resources
            .filter_map(|resource| resource["uri"].as_str())
            .collect();
        assert_eq!(uris, URIS, "{}", client.describe());
        let [meta, config, guard, fleet] = URIS;
        assert_eq!(read(client, meta).await?["name"], "dynamic-mcp");
        assert_eq!(
            read(client, config).await?,
            client.structured("system.runtime_config", json!({})).await?
        );
        assert_eq!(
            read(client, guard).await?,
            client.structured("system.guard_metrics", json!({})).await?
        );
        assert_eq!(read(client, fleet).await?["totals"]["executors"], 1);
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_resource_is_an_error_that_names_it() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let answer = client
            .ask_raw("resources/read", json!({"uri": "dynamic://no/such"}))
            .await?;
        // The newest era gave up the code of its own that earlier ones had for it.
        let code = if tag.ends_with("2026") { -32_602 } else { -32_002 };
        assert_eq!(answer["error"]["code"], code, "{tag}: {answer}");
        assert_eq!(
            answer["error"]["data"]["uri"], "dynamic://no/such",
            "{tag}: {answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_checklist_prompt_names_the_tool_it_is_asked_about() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        let list = client.ask("prompts/list", json!({})).await?;
        let prompt = &list["prompts"][0];
        assert_eq!(prompt["name"], "tool-call-checklist", "{list}");
        assert_eq!(
            (
                &prompt["arguments"][0]["name"],
                &prompt["arguments"][0]["required"]
            ),
            (&json!("toolName"), &json!(true))
        );
        let arguments = json!({"toolName": "text.shout"});
        let got = client
            .ask(
                "prompts/get",
                json!({"name": "tool-call-checklist", "arguments": arguments}),
            )
            .await?;
        assert_eq!(got["messages"][0]["role"], "user", "{got}");
        assert!(
            got["messages"][0]["content"]["text"]
                .to_string()
                .contains("text.shout"),
            "{got}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_prompt_without_its_argument_or_of_another_name_is_an_invalid_parameter() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (_, client) in wires.each() {
        for params in [
            json!({"name": "tool-call-checklist"}),
            json!({"name": "other", "arguments": {}}),
        ] {
            let answer = client.ask_raw("prompts/get", params).await?;
            assert_eq!(answer["error"]["code"], -32_602, "{answer}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_prompts_argument_is_completed_with_names_of_tools() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("dynaspark.{tag}");
        client.create_tool(&name, "return 1;", json!({})).await?;
        let reference = json!({"type": "ref/prompt", "name": "tool-call-checklist"});
        let params = json!({"ref": reference, "argument": {"name": "toolName", "value": "dynas"}});
        let values = client.ask("completion/complete", params).await?["completion"]["values"].clone();
        assert!(
            values
                .as_array()
                .is_some_and(|values| values.contains(&json!(name))),
            "{values}"
        );
        assert!(
            values
                .as_array()
                .into_iter()
                .flatten()
                .all(|value| value.as_str().is_some_and(|value| value.starts_with("dynas"))),
            "{values}"
        );
    }
    Ok(())
}
