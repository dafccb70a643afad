//! Every open client hears that the list of tools has changed, after the change is there to be seen.

use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::{Era, EventStream, McpClient};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::stdio::StdioServer;
use serde_json::{Value, json};

const LIST_CHANGED: &str = "notifications/tools/list_changed";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// What a stream that hears nothing is given to say something after all.
const QUIET: Duration = Duration::from_millis(500);

fn is_list_changed(message: &Value) -> bool {
    message["method"] == LIST_CHANGED
}

/// The stream of a legacy session, or a subscription whose acknowledgement has been read.
async fn changes(client: &McpClient) -> Result<EventStream> {
    if client.era() == Era::Legacy {
        return client.notifications().await;
    }
    let mut stream = client.listen().await?;
    let first = stream.next().await?.context("a first message")?;
    assert_eq!(first["method"], ACKNOWLEDGED, "{first}");
    Ok(stream)
}

/// Two clients of each era, each with its stream.
async fn listeners(server: &AllInOne) -> Result<Vec<(McpClient, EventStream)>> {
    let mut listeners = Vec::new();
    for era in [Era::Legacy, Era::Legacy, Era::Modern, Era::Modern] {
        let client = server.client(era).await?;
        let stream = changes(&client).await?;
        listeners.push((client, stream));
    }
    Ok(listeners)
}

#[tokio::test]
async fn every_client_of_both_eras_is_told_of_every_change_once_it_can_be_seen() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let mut listeners = listeners(&server).await?;
    let author = server.client(Era::Modern).await?;
    let write = |tool: &'static str, arguments: Value| author.structured(tool, arguments);

    author.create_tool("told.of", "return 1;", json!({})).await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("creation, {}", client.describe()))?;
        assert!(
            client.tool_names().await?.contains(&"told.of".to_owned()),
            "{}",
            client.describe()
        );
    }
    write(
        "dynamic.tool.update",
        json!({"name": "told.of", "patch": {"title": "Another"}}),
    )
    .await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("update, {}", client.describe()))?;
        assert_eq!(
            client.listed("told.of").await?["title"],
            "Another",
            "{}",
            client.describe()
        );
    }
    write(
        "dynamic.tool.enable",
        json!({"name": "told.of", "enabled": false}),
    )
    .await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("disabling, {}", client.describe()))?;
        assert!(
            !client.tool_names().await?.contains(&"told.of".to_owned()),
            "{}",
            client.describe()
        );
    }
    write("dynamic.tool.enable", json!({"name": "told.of", "enabled": true})).await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("enabling, {}", client.describe()))?;
    }
    write("dynamic.tool.delete", json!({"name": "told.of"})).await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| format!("deletion, {}", client.describe()))?;
        assert!(
            !client.tool_names().await?.contains(&"told.of".to_owned()),
            "{}",
            client.describe()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_hears_of_its_own_change_too() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let mut stream = changes(&client).await?;
        client
            .create_tool(&format!("own.{}", era.version()), "return 1;", json!({}))
            .await?;
        stream
            .find(is_list_changed)
            .await
            .with_context(|| client.describe())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_subscription_says_first_what_it_was_granted_and_marks_what_it_sends() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let asked = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let request = client.request("subscriptions/listen", asked);
    let mut stream = EventStream::new(client.send(&request).await?.error_for_status()?);
    let first = stream.next().await?.context("a first message")?;
    assert_eq!(first["method"], ACKNOWLEDGED, "{first}");
    assert_eq!(
        first["params"]["notifications"],
        json!({"toolsListChanged": true}),
        "only tools change here: {first}"
    );
    client.create_tool("marked", "return 1;", json!({})).await?;
    let told = stream.find(is_list_changed).await?;
    let id = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(
        id.as_str()
            .map(str::to_owned)
            .or_else(|| id.as_u64().map(|id| id.to_string())),
        Some(request["id"].to_string()),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn a_subscription_to_nothing_that_changes_hears_nothing() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let request = client.request(
        "subscriptions/listen",
        json!({"notifications": {"promptsListChanged": true}}),
    );
    let mut stream = EventStream::new(client.send(&request).await?.error_for_status()?);
    let first = stream.next().await?.context("a first message")?;
    assert_eq!(first["method"], ACKNOWLEDGED, "{first}");
    client.create_tool("unheard", "return 1;", json!({})).await?;
    let next = tokio::time::timeout(QUIET, stream.next()).await;
    assert!(next.is_err(), "{next:?}");
    Ok(())
}

#[tokio::test]
async fn after_a_client_has_left_the_others_are_told_on() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let mut listeners = listeners(&server).await?;
    let (ended, _) = listeners.remove(0);
    assert!(ended.end_session().await?.status().is_success());
    drop(listeners.remove(1));
    let author = server.client(Era::Modern).await?;
    author.create_tool("later", "return 1;", json!({})).await?;
    for (client, stream) in &mut listeners {
        stream
            .find(is_list_changed)
            .await
            .with_context(|| client.describe())?;
    }
    Ok(())
}

#[tokio::test]
async fn the_stream_of_a_session_that_is_ended_ends_without_a_further_word() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Legacy).await?;
    let mut stream = changes(&client).await?;
    client.end_session().await?.error_for_status()?;
    server
        .client(Era::Modern)
        .await?
        .create_tool("unheard", "return 1;", json!({}))
        .await?;
    let rest = tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .context("it stays open")?;
    assert!(matches!(rest, Ok(None) | Err(_)), "{rest:?}");
    Ok(())
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_up_neither_calls_nor_other_clients() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let mut unread = Vec::new();
    for era in Era::ALL {
        let client = server.client(era).await?;
        let stream = if era == Era::Legacy {
            client.notifications().await?
        } else {
            client.listen().await?
        };
        unread.push((client, stream));
    }
    let (reader, mut read) = {
        let client = server.client(Era::Legacy).await?;
        let stream = changes(&client).await?;
        (client, stream)
    };
    reader.create_tool("busy", "return 1;", json!({})).await?;
    let writes = async {
        for number in 0..300 {
            let patch = json!({"title": format!("Title {number}")});
            reader
                .structured("dynamic.tool.update", json!({"name": "busy", "patch": patch}))
                .await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), writes)
        .await
        .context("the writer was held up")??;
    read.find(is_list_changed).await?;
    for (client, _) in &unread {
        let calls = async {
            for _ in 0..50 {
                client
                    .structured("dev.echo", json!({"message": "still here"}))
                    .await?;
            }
            anyhow::Ok(())
        };
        let calls = tokio::time::timeout(Duration::from_secs(10), calls).await;
        calls.with_context(|| {
            format!(
                "{}: calls beside an unread stream were held up",
                client.describe()
            )
        })??;
    }
    Ok(())
}

#[tokio::test]
async fn over_stdio_a_change_is_told_in_the_one_stream_there_is() -> Result<()> {
    let mut server = StdioServer::start(&dynamic_mcp_tests::server::NO_POOL).await?;
    let tool = json!({"name": "over.stdio", "description": "d", "code": "return 1;"});
    let id = server
        .send(
            "tools/call",
            json!({"name": "dynamic.tool.create", "arguments": {"tool": tool}}),
        )
        .await?;
    let (mut answered, mut told) = (false, false);
    while !(answered && told) {
        let message = tokio::time::timeout(Duration::from_secs(10), server.read())
            .await
            .context("nothing more came")??;
        let message = message.context("stdout ended")?;
        answered |= message["id"] == id;
        told |= is_list_changed(&message);
    }
    Ok(())
}
