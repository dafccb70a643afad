//! A list of more than a hundred tools comes in pages.

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<&str> {
    page["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["name"].as_str())
        .collect()
}

#[tokio::test]
async fn more_than_a_hundred_tools_come_in_pages_in_one_stable_order() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let legacy = server.client(Era::Legacy).await?;
    let modern = server.client(Era::Modern).await?;
    for number in 0..100 {
        modern
            .create_tool(&format!("page.{number:03}"), "return 1;", json!({}))
            .await?;
    }
    for client in [&legacy, &modern] {
        let first = client.ask("tools/list", json!({})).await?;
        assert_eq!(names(&first).len(), 100, "{}", client.describe());
        let cursor = first["nextCursor"].as_str().context("a cursor")?;
        let second = client.ask("tools/list", json!({"cursor": cursor})).await?;
        assert_eq!(second["nextCursor"], Value::Null);
        let all = [names(&first), names(&second)].concat();
        let registered: Vec<_> = all.iter().filter(|name| name.starts_with("page.")).collect();
        assert_eq!(registered.len(), 100);
        assert!(registered.is_sorted(), "{registered:?}");
        assert_eq!(all, client.tool_names().await?, "the same order each time");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_goes_on_after_the_one_before_when_tools_came_and_went() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    for number in 0..100 {
        client
            .create_tool(&format!("page.{number:03}"), "return 1;", json!({}))
            .await?;
    }
    let first = client.ask("tools/list", json!({})).await?;
    let last = names(&first).last().context("a tool")?.to_string();
    client
        .structured("dynamic.tool.delete", json!({"name": last}))
        .await?;
    client.create_tool("aaa.before", "return 1;", json!({})).await?;
    client.create_tool("zzz.after", "return 1;", json!({})).await?;
    let second = client
        .ask("tools/list", json!({"cursor": first["nextCursor"]}))
        .await?;
    let second = names(&second);
    assert!(second.iter().all(|name| *name > last.as_str()), "{second:?}");
    assert_eq!(second.last(), Some(&"zzz.after"));
    Ok(())
}

#[tokio::test]
async fn a_cursor_that_was_not_given_out_is_an_invalid_parameter() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    for era in Era::ALL {
        let answer = server
            .client(era)
            .await?
            .ask_raw("tools/list", json!({"cursor": "made up"}))
            .await?;
        assert_eq!(answer["error"]["code"], -32_602, "{answer}");
    }
    Ok(())
}
