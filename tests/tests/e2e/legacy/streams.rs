//! A stream that its client loses goes on at another replica.

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, EventStream, McpClient};
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{everywhere, is_list_changed, plan, stays_quiet};

fn is_progress(message: &Value) -> bool {
    message["method"] == "notifications/progress"
}

/// Begins a call whose client loses the stream after the first progress; answers the request and what was read last.
async fn lost_after_progress(client: &McpClient, code: &str) -> Result<(Value, String)> {
    let call = client.request(
        "tools/call",
        json!({"name": "run_js_ephemeral", "arguments": {"code": code}, "_meta": {"progressToken": "p"}}),
    );
    let mut stream = EventStream::new(client.send(&call).await?.error_for_status()?);
    stream.find(is_progress).await?;
    let read = stream.last_id().context("the event has an id")?.to_owned();
    Ok((call, read))
}

#[tokio::test]
async fn a_stream_that_is_opened_anew_elsewhere_takes_over_and_the_old_one_ends() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let mut old = copies[0].notifications().await?;
    let mut new = copies[1].notifications().await?;
    let ended = tokio::time::timeout(super::SOON, old.next()).await;
    assert!(matches!(
        ended.context("the old stream stays open")?,
        Ok(None) | Err(_)
    ));
    copies[2]
        .create_tool("for.the.new", "return 1;", json!({}))
        .await?;
    new.find(is_list_changed).await?;
    cluster.stop().await
}

#[tokio::test]
async fn what_was_not_read_when_the_replica_with_the_stream_was_killed_is_read_at_another_one() -> Result<()>
{
    let mut cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    copies[1]
        .ask("logging/setLevel", json!({"level": "info"}))
        .await?;
    let mut stream = copies[0].notifications().await?;
    let print = async |text: &str| {
        let code = format!("console.log('{text}'); return 1;");
        copies[1]
            .structured("run_js_ephemeral", json!({"code": code}))
            .await
    };
    print("one").await?;
    stream.find(|message| message["params"]["data"] == "one").await?;
    let read = stream.last_id().context("the event has an id")?.to_owned();
    print("two").await?;
    stream.find(|message| message["params"]["data"] == "two").await?;
    cluster.kill_replica(0).await;
    print("three").await?;
    // As if the second one had been lost on the way.
    let mut stream = copies[2].read_on(Some(&read)).await?;
    for text in ["two", "three"] {
        let told = stream.next().await?.context("a message")?;
        assert_eq!(told["params"]["data"], text, "{told}");
    }
    // Without an id it goes on where it was.
    drop(stream);
    print("four").await?;
    let mut stream = copies[1].notifications().await?;
    let told = stream.next().await?.context("a message")?;
    assert_eq!(told["params"]["data"], "four", "{told}");
    stays_quiet(&mut stream, |_| true).await?;
    cluster.stop().await
}

#[tokio::test]
async fn the_stream_of_a_request_goes_on_at_another_replica_until_its_answer() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let code = "ctx.progress(1); for (const end = Date.now() + 3000; Date.now() < end;); return 'the end';";
    let (call, read) = lost_after_progress(&copies[0], code).await?;
    let mut rest = copies[1].read_on(Some(&read)).await?;
    let answer = rest.find(|message| message["id"] == call["id"]).await?;
    assert_eq!(
        answer["result"]["structuredContent"]["result"], "the end",
        "{answer}"
    );
    assert!(rest.next().await?.is_none(), "it ends with its answer");
    cluster.stop().await
}

#[tokio::test]
async fn an_answer_that_came_while_its_client_was_away_is_read_at_any_replica() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let code = "ctx.progress(1); for (const end = Date.now() + 500; Date.now() < end;); return 'the end';";
    let (call, read) = lost_after_progress(&copies[0], code).await?;
    eventually(super::SOON, async || {
        let metrics = copies[0].structured("system.guard_metrics", json!({})).await?;
        ensure!(metrics["activeExecutions"] == 0, "{metrics}");
        Ok(())
    })
    .await;
    for copy in [&copies[1], &copies[0], &copies[2]] {
        let mut rest = copy.read_on(Some(&read)).await?;
        let answer = rest
            .next()
            .await?
            .context("what was read comes twice or nothing does")?;
        assert_eq!(answer["id"], call["id"], "{answer}");
        assert_eq!(answer["result"]["structuredContent"]["result"], "the end");
        assert!(rest.next().await?.is_none(), "it ends with its answer");
    }
    let mut others = cluster.client(Era::Legacy).await?.read_on(Some(&read)).await?;
    assert!(others.next().await?.is_none(), "it is of another session");
    cluster.stop().await
}

#[tokio::test]
async fn progress_comes_on_a_stream_that_was_lost_and_is_read_on() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let code = "for (let i = 1; i < 6; i++) { ctx.progress(i); for (const end = Date.now() + 500; Date.now() < end;); } return 1;";
    let (_call, read) = lost_after_progress(&copies[0], code).await?;
    let mut rest = copies[1].read_on(Some(&read)).await?;
    for step in 2..6 {
        let told = rest.next().await?.context("progress")?;
        assert!(is_progress(&told), "{told}");
        assert_eq!(told["params"]["progress"].as_f64(), Some(f64::from(step)));
    }
    cluster.stop().await
}
