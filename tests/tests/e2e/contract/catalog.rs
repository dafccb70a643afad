//! `dynamic.tool.*`: tools are made, changed, switched off, shown and deleted, each write with a revision.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use super::Wires;

const CODE: &str = "return 'the code';";

#[tokio::test]
async fn create_answers_with_the_whole_record_but_the_code() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("whole.{tag}");
        let further = json!({"title": "Whole", "timeoutMs": 5_000, "enabled": true, "image": "node:lts-slim", "dependencies": []});
        let created = client.create_tool(&name, CODE, further).await?;
        let tool = &created["tool"];
        let expected = json!({
            "name": name, "title": "Whole", "description": format!("The test's {name}."), "image": "node:lts-slim",
            "timeoutMs": 5_000, "dependencies": [], "enabled": true, "isolation": "call", "revision": 1,
        });
        for (field, value) in expected.as_object().into_iter().flatten() {
            assert_eq!(&tool[field], value, "{field} in {created}");
        }
        for time in ["createdAt", "updatedAt"] {
            assert!(
                tool[time].as_str().is_some_and(|time| time.ends_with('Z')),
                "{time} in {created}"
            );
        }
        assert_eq!(tool["codeSizeBytes"], CODE.len());
        assert!(!created.to_string().contains(CODE), "{created}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_out_of_a_tool_gets_its_default() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let tool = &server
        .client(Era::Modern)
        .await?
        .create_tool("plain", CODE, json!({}))
        .await?["tool"];
    let defaults = json!({"image": "node:lts-slim", "timeoutMs": 30_000, "dependencies": [], "enabled": true, "isolation": "call"});
    for (field, value) in defaults.as_object().into_iter().flatten() {
        assert_eq!(&tool[field], value, "{field} in {tool}");
    }
    Ok(())
}

#[tokio::test]
async fn a_new_tool_is_in_the_list_of_every_client_at_once() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let legacy = server.client(Era::Legacy).await?;
    let modern = server.client(Era::Modern).await?;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    modern
        .create_tool(
            "shared.tool",
            CODE,
            json!({"title": "Shared", "inputSchema": schema, "outputSchema": {"type": "object"}}),
        )
        .await?;
    for client in [&legacy, &modern] {
        let listed = client.listed("shared.tool").await?;
        assert_eq!(listed["title"], "Shared", "{}", client.describe());
        assert_eq!(listed["description"], "The test's shared.tool.");
        assert_eq!(listed["inputSchema"], schema);
        assert_eq!(listed["outputSchema"], json!({"type": "object"}));
    }
    Ok(())
}

#[tokio::test]
async fn a_tool_without_a_schema_is_listed_as_taking_args() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("no.schema", CODE, json!({})).await?;
    let listed = client.listed("no.schema").await?;
    assert_eq!(
        listed["inputSchema"]["properties"]["args"]["type"], "object",
        "{listed}"
    );
    assert_eq!(listed["outputSchema"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn get_shows_the_code_and_list_only_when_asked_for_it() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("shown.{tag}");
        client.create_tool(&name, CODE, json!({})).await?;
        let got = client
            .structured("dynamic.tool.get", json!({"name": name}))
            .await?;
        assert_eq!(got["tool"]["code"], CODE);
        for (arguments, code) in [
            (json!({}), Value::Null),
            (json!({"includeCode": true}), json!(CODE)),
        ] {
            let list = client.structured("dynamic.tool.list", arguments).await?;
            let tools = list["tools"].as_array().into_iter().flatten();
            let tool = tools
                .into_iter()
                .find(|tool| tool["name"] == name)
                .cloned()
                .unwrap_or_default();
            assert_eq!(tool["revision"], 1, "{list}");
            assert_eq!(tool["code"], code, "{list}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn update_changes_what_the_patch_names_and_counts_the_revision_up() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("patched.{tag}");
        client
            .create_tool(&name, CODE, json!({"title": "Before", "timeoutMs": 5_000}))
            .await?;
        let patch = json!({"description": "After.", "title": null});
        let updated = client
            .structured(
                "dynamic.tool.update",
                json!({"name": name, "patch": patch, "expectedRevision": 1}),
            )
            .await?;
        assert_eq!(updated["tool"]["revision"], 2);
        assert_eq!(updated["tool"]["description"], "After.");
        assert_eq!(updated["tool"]["title"], Value::Null);
        assert_eq!(updated["tool"]["timeoutMs"], 5_000);
        assert!(!updated.to_string().contains(CODE), "{updated}");
        assert_eq!(
            client
                .structured("dynamic.tool.get", json!({"name": name}))
                .await?["tool"]["code"],
            CODE
        );
        let empty = client
            .refusal("dynamic.tool.update", json!({"name": name, "patch": {}}))
            .await?;
        assert!(empty.contains("patch") && empty.contains("empty"), "{empty}");
    }
    Ok(())
}

#[tokio::test]
async fn a_disabled_tool_leaves_the_list_and_can_not_be_called_until_it_is_enabled() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("switched.{tag}");
        client.create_tool(&name, CODE, json!({})).await?;
        let disabled = client
            .structured("dynamic.tool.enable", json!({"name": name, "enabled": false}))
            .await?;
        assert_eq!(
            (&disabled["tool"]["enabled"], &disabled["tool"]["revision"]),
            (&json!(false), &json!(2))
        );
        assert!(
            !client.tool_names().await?.contains(&name),
            "{}",
            client.describe()
        );
        let call = client
            .ask_raw("tools/call", json!({"name": name, "arguments": {}}))
            .await?;
        assert_eq!(call["error"]["code"], -32_602, "{call}");
        let by_name = client.refusal("dynamic.tool.call", json!({"name": name})).await?;
        assert!(by_name.contains(&name), "{by_name}");
        let list = client.structured("dynamic.tool.list", json!({})).await?;
        assert!(
            list.to_string().contains(&name),
            "a disabled tool is still there for its author: {list}"
        );
        client
            .structured("dynamic.tool.enable", json!({"name": name, "enabled": true}))
            .await?;
        assert!(
            client.tool_names().await?.contains(&name),
            "{}",
            client.describe()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_tool_is_gone_and_its_name_goes_on_counting() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("deleted.{tag}");
        client.create_tool(&name, CODE, json!({})).await?;
        let deleted = client
            .structured(
                "dynamic.tool.delete",
                json!({"name": name, "expectedRevision": 1}),
            )
            .await?;
        assert_eq!(
            deleted,
            json!({"ok": true, "deleted": {"name": name, "revision": 1}})
        );
        assert!(
            !client.tool_names().await?.contains(&name),
            "{}",
            client.describe()
        );
        let again = client.create_tool(&name, CODE, json!({})).await?;
        assert!(
            again["tool"]["revision"]
                .as_u64()
                .is_some_and(|revision| revision > 1),
            "{again}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_stale_write_is_a_conflict_that_says_both_revisions() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("stale.{tag}");
        client.create_tool(&name, CODE, json!({})).await?;
        client
            .structured(
                "dynamic.tool.update",
                json!({"name": name, "patch": {"title": "Second"}}),
            )
            .await?;
        let writes = [
            (
                "dynamic.tool.update",
                json!({"name": name, "patch": {"title": "Third"}, "expectedRevision": 1}),
            ),
            (
                "dynamic.tool.enable",
                json!({"name": name, "enabled": false, "expectedRevision": 1}),
            ),
            (
                "dynamic.tool.delete",
                json!({"name": name, "expectedRevision": 1}),
            ),
        ];
        for (write, arguments) in writes {
            let refused = client.call(write, arguments).await?;
            assert_eq!(refused["isError"], true, "{write} {refused}");
            let structured = &refused["structuredContent"];
            assert_eq!(structured["kind"], "conflict", "{refused}");
            assert_eq!(
                (&structured["expectedRevision"], &structured["actualRevision"]),
                (&json!(1), &json!(2)),
                "{refused}"
            );
            let text = refused["content"][0]["text"].as_str().unwrap_or_default();
            assert!(
                text.contains("revision 2") && text.contains("revision 1"),
                "{text}"
            );
        }
        let record = client
            .structured("dynamic.tool.get", json!({"name": name}))
            .await?;
        assert_eq!(
            (&record["tool"]["revision"], &record["tool"]["title"]),
            (&json!(2), &json!("Second"))
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_taken_or_missing_is_refused_by_name() -> Result<()> {
    let wires = Wires::without_pool(&[]).await?;
    for (tag, client) in wires.each() {
        let name = format!("taken.{tag}");
        client.create_tool(&name, CODE, json!({})).await?;
        let twice = json!({"tool": {"name": name, "description": "Again.", "code": CODE}});
        assert_eq!(
            client.call("dynamic.tool.create", twice).await?["structuredContent"]["kind"],
            "already_exists"
        );
        let missing = [
            ("dynamic.tool.get", json!({"name": "missing.tool"})),
            (
                "dynamic.tool.update",
                json!({"name": "missing.tool", "patch": {"title": "x"}}),
            ),
            (
                "dynamic.tool.enable",
                json!({"name": "missing.tool", "enabled": true}),
            ),
            ("dynamic.tool.delete", json!({"name": "missing.tool"})),
            ("dynamic.tool.call", json!({"name": "missing.tool"})),
        ];
        for (tool, arguments) in missing {
            let refused = client.call(tool, arguments).await?;
            assert_eq!(
                refused["structuredContent"]["kind"], "not_found",
                "{tool} {refused}"
            );
            assert!(
                refused["content"][0]["text"].to_string().contains("missing.tool"),
                "{tool} {refused}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_content_hash_names_what_runs() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let hash = |answer: Value| {
        answer["tool"]["contentHash"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let first = hash(client.create_tool("hashed", CODE, json!({})).await?);
    assert_eq!(first.len(), 64, "{first}");
    let update =
        |patch: Value| client.structured("dynamic.tool.update", json!({"name": "hashed", "patch": patch}));
    assert_eq!(hash(update(json!({"title": "Only a title"})).await?), first);
    assert_ne!(hash(update(json!({"code": "return 2;"})).await?), first);
    assert_eq!(hash(update(json!({"code": CODE})).await?), first);
    Ok(())
}
