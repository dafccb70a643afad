//! What a tool was: its history, what changed, the way back, and calls that want one revision and no other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, McpClient, with};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use super::Wires;

const REVISION: &str = "dynamic-mcp/revision";
const HASH: &str = "dynamic-mcp/contentHash";

async fn wires() -> Result<Wires> {
    Wires::start(On::Isolate.settings()).await
}

/// A tool that says which revision it is, with three of them: the third one's title is all that is new.
async fn with_three(client: &McpClient, name: &str) -> Result<()> {
    let code = "const n = 1;\nreturn 'first';";
    client
        .create_tool(name, code, json!({"runtime": "isolate"}))
        .await?;
    for patch in [
        json!({"code": "const n = 1;\nreturn 'second';"}),
        json!({"title": "Third"}),
    ] {
        client
            .structured("dynamic.tool.update", json!({"name": name, "patch": patch}))
            .await?;
    }
    Ok(())
}

fn numbers(history: &Value) -> Vec<u64> {
    let revisions = history["revisions"].as_array().into_iter().flatten();
    revisions.filter_map(|entry| entry["revision"].as_u64()).collect()
}

#[tokio::test]
async fn the_history_names_every_write_the_newest_first_page_by_page() -> Result<()> {
    let wires = wires().await?;
    for (tag, client) in wires.each() {
        let name = format!("history.{tag}");
        with_three(client, &name).await?;
        let history = async |further: Value| {
            let arguments = with(json!({"name": name}), further);
            client.structured("dynamic.tool.history", arguments).await
        };
        let all = history(json!({})).await?;
        assert_eq!(numbers(&all), [3, 2, 1], "{all}");
        let first = &all["revisions"][2];
        assert_eq!(
            (&first["action"], &first["actor"]),
            (&json!("create"), &json!("anonymous"))
        );
        assert!(
            first["createdAt"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{first}"
        );
        // A title is no part of what runs.
        assert_eq!(
            all["revisions"][0]["contentHash"],
            all["revisions"][1]["contentHash"]
        );
        assert_ne!(all["revisions"][1]["contentHash"], first["contentHash"]);

        let page = history(json!({"limit": 2})).await?;
        assert_eq!((numbers(&page), &page["nextBefore"]), (vec![3, 2], &json!(2)));
        let rest = history(json!({"limit": 2, "before": 2})).await?;
        assert_eq!((numbers(&rest), &rest["nextBefore"]), (vec![1], &Value::Null));

        client
            .structured("dynamic.tool.delete", json!({"name": name}))
            .await?;
        let deleted = history(json!({"limit": 1})).await?;
        assert_eq!(
            (
                &deleted["revisions"][0]["action"],
                &deleted["revisions"][0]["revision"]
            ),
            (&json!("delete"), &json!(4))
        );
        let never = client
            .refusal("dynamic.tool.history", json!({"name": "never.was"}))
            .await?;
        assert!(never.contains("there is no tool named \"never.was\""), "{never}");
    }
    Ok(())
}

#[tokio::test]
async fn a_difference_shows_the_code_line_by_line_and_other_fields_as_they_were_and_are() -> Result<()> {
    let wires = wires().await?;
    for (tag, client) in wires.each() {
        let name = format!("diff.{tag}");
        with_three(client, &name).await?;
        let diff = async |from: u64, to: u64| {
            client
                .structured("dynamic.tool.diff", json!({"name": name, "from": from, "to": to}))
                .await
        };
        let all = diff(1, 3).await?;
        let code = all["code"].as_str().context("a diff")?;
        for line in [
            "--- revision 1",
            "+++ revision 3",
            " const n = 1;",
            "-return 'first';",
            "+return 'second';",
        ] {
            assert!(code.lines().any(|is| is == line), "{line} in {code}");
        }
        assert_eq!(all["changed"], json!({"title": {"from": null, "to": "Third"}}));
        assert_eq!(all["same"], false);

        let title = diff(2, 3).await?;
        assert_eq!((&title["code"], &title["same"]), (&json!(""), &json!(true)));
        let nothing = diff(2, 2).await?;
        assert_eq!(nothing["changed"], json!({}));
        let refused = client
            .refusal("dynamic.tool.diff", json!({"name": name, "from": 1, "to": 9}))
            .await?;
        assert!(refused.contains("has no revision 9"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_that_runs_what_the_old_one_did() -> Result<()> {
    let wires = wires().await?;
    for (tag, client) in wires.each() {
        let name = format!("back.{tag}");
        with_three(client, &name).await?;
        let rollback = |further: Value| with(json!({"name": name, "to": 1}), further);
        let stale = client
            .refusal("dynamic.tool.rollback", rollback(json!({"expectedRevision": 2})))
            .await?;
        assert!(
            stale.contains("at revision 3, not at the expected revision 2"),
            "{stale}"
        );
        let done = client
            .structured("dynamic.tool.rollback", rollback(json!({"expectedRevision": 3})))
            .await?;
        assert_eq!(
            (&done["tool"]["revision"], &done["tool"]["title"]),
            (&json!(4), &Value::Null)
        );
        assert_eq!(client.structured(&name, json!({})).await?["result"], "first");

        // A deleted tool is there again.
        client
            .structured("dynamic.tool.delete", json!({"name": name}))
            .await?;
        let back = client
            .structured("dynamic.tool.rollback", json!({"name": name, "to": 2}))
            .await?;
        assert_eq!(back["tool"]["revision"], 6);
        assert_eq!(client.structured(&name, json!({})).await?["result"], "second");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_policy_does_not_allow_any_more_does_not_come_back() -> Result<()> {
    let before = AllInOne::start_without_pool(On::Isolate.settings()).await?;
    let client = before.client(Era::Modern).await?;
    client
        .create_tool("patient", "return 1", json!({"timeoutMs": 90_000}))
        .await?;
    let shorter = json!({"name": "patient", "patch": {"timeoutMs": 5_000}});
    client.structured("dynamic.tool.update", shorter).await?;

    let strict = [On::Isolate.settings(), &[("MCP_SANDBOX_MAX_TIMEOUT_MS", "60000")]].concat();
    let after = AllInOne::start_in(before.kill().await, &strict).await?;
    let client = after.client(Era::Modern).await?;
    let refused = client
        .refusal("dynamic.tool.rollback", json!({"name": "patient", "to": 1}))
        .await?;
    assert!(refused.contains("60000"), "{refused}");
    let kept = client
        .structured("dynamic.tool.get", json!({"name": "patient"}))
        .await?;
    assert_eq!(kept["tool"]["revision"], 2);
    Ok(())
}

#[tokio::test]
async fn a_tool_that_uses_no_image_comes_back_whatever_images_are_allowed_by_now() -> Result<()> {
    let before = AllInOne::start_without_pool(On::Isolate.settings()).await?;
    let client = before.client(Era::Modern).await?;
    with_three(&client, "plain").await?;
    let other = [
        On::Isolate.settings(),
        &[("MCP_SANDBOX_ALLOWED_IMAGES", "node:22-slim")],
    ]
    .concat();
    let after = AllInOne::start_in(before.kill().await, &other).await?;
    let client = after.client(Era::Modern).await?;
    let back = json!({"name": "plain", "to": 1});
    let done = client.structured("dynamic.tool.rollback", back).await?;
    assert_eq!(done["tool"]["revision"], 4, "{done}");
    Ok(())
}

#[tokio::test]
async fn a_difference_of_long_texts_holds_up_nobody() -> Result<()> {
    let server = AllInOne::start_without_pool(On::Isolate.settings()).await?;
    let client = server.client(Era::Modern).await?;
    let lines = |line: &str| line.repeat(90_000);
    client
        .create_tool("long", &lines("1\n"), json!({"runtime": "isolate"}))
        .await?;
    let patch = json!({"name": "long", "patch": {"code": lines("2\n")}});
    client.structured("dynamic.tool.update", patch).await?;
    let began = Instant::now();
    let arguments = json!({"name": "long", "from": 1, "to": 2});
    let diff = client.structured("dynamic.tool.diff", arguments).await?;
    let code = diff["code"].as_str().context("a diff")?;
    assert_eq!(code.lines().filter(|line| *line == "+2").count(), 90_000);
    // Searched for to the end, the shortest one takes minutes here.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_call_that_pins_what_it_wants_gets_that_or_nothing() -> Result<()> {
    let wires = wires().await?;
    for (tag, client) in wires.each() {
        let name = format!("pinned.{tag}");
        with_three(client, &name).await?;
        let call = |meta: Value| {
            client.ask_raw(
                "tools/call",
                json!({"name": name, "arguments": {}, "_meta": meta}),
            )
        };
        let ran = call(json!({})).await?["result"].clone();
        let (revision, hash) = (&ran["_meta"][REVISION], &ran["_meta"][HASH]);
        assert_eq!(revision, 3, "{ran}");
        let good = call(json!({REVISION: revision, HASH: hash})).await?;
        assert_eq!(good["result"]["structuredContent"]["result"], "second", "{good}");
        for (meta, word) in [
            (json!({REVISION: 2}), "revision 3"),
            (json!({HASH: "0".repeat(64)}), "contentHash"),
        ] {
            let refused = call(meta).await?["result"]["structuredContent"].clone();
            assert_eq!(
                (&refused["ok"], &refused["outcome"], &refused["reason"]),
                (&json!(false), &json!("never_started"), &json!("pinned")),
                "{refused}"
            );
            assert!(
                refused["error"]
                    .as_str()
                    .is_some_and(|error| error.contains(word)),
                "{refused}"
            );
        }
        let wrong = call(json!({REVISION: "3"})).await?;
        assert_eq!(wrong["error"]["code"], -32_602, "{wrong}");

        let by_name = |pin: Value| {
            let arguments = with(json!({"name": name}), pin);
            client.call("dynamic.tool.call", arguments)
        };
        let good = by_name(json!({"revision": 3, "contentHash": hash})).await?;
        assert_eq!(
            (&good["structuredContent"]["result"], &good["_meta"][REVISION]),
            (&json!("second"), &json!(3)),
            "{good}"
        );
        assert_eq!(
            by_name(json!({"revision": 1})).await?["structuredContent"]["reason"],
            "pinned"
        );
    }
    Ok(())
}
