//! Replicas come and go, and so does what they share; sessions stay.

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{SOON, echoes, everywhere, is_list_changed, plan};

#[tokio::test]
async fn a_rolling_restart_of_all_replicas_ends_no_session() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let client = cluster.client(Era::Legacy).await?;
        client.ask("logging/setLevel", json!({"level": "info"})).await?;
        clients.push(client);
    }
    for index in 0..cluster.replicas.len() {
        cluster.terminate_replica(index).await;
        for client in &clients {
            echoes(client)
                .await
                .with_context(|| format!("while {index} is down"))?;
        }
        cluster.start_replica(index).await?;
        cluster.until_ready(SOON).await;
    }
    for (index, client) in clients.iter().enumerate() {
        for copy in everywhere(&cluster, client) {
            echoes(&copy).await?;
        }
        // What was set before holds after it, and the stream works.
        let mut stream = client.notifications().await?;
        let text = format!("printed for {index}");
        let code = format!("console.log('{text}'); return 1;");
        client
            .structured("run_js_ephemeral", json!({"code": code}))
            .await?;
        stream
            .find(|message| message["params"]["data"] == json!(text))
            .await?;
    }
    cluster.stop().await
}

#[tokio::test]
async fn a_killed_replica_takes_no_session_with_it() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    let client = cluster.replicas[0].client(Era::Legacy).await?;
    cluster.kill_replica(0).await;
    for copy in everywhere(&cluster, &client) {
        echoes(&copy).await?;
    }
    // Through the balancer too, which passes over what takes no connection.
    let through = client.by(cluster.base_url());
    for _ in 0..6 {
        echoes(&through).await?;
    }
    cluster.stop().await
}

#[tokio::test]
async fn while_redis_is_away_a_session_goes_on_where_it_is_and_elsewhere_is_worth_another_try() -> Result<()>
{
    let mut cluster = Cluster::start(plan()).await?;
    let client = cluster.replicas[0].client(Era::Legacy).await?;
    let copies = everywhere(&cluster, &client);
    let mut stream = copies[0].notifications().await?;
    cluster.redis.kill().await;
    echoes(&copies[0]).await?;
    let refused = copies[1]
        .send(&copies[1].request("tools/list", json!({})))
        .await?;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await?;
    assert!(
        body["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("try again")),
        "{body}"
    );
    assert_eq!(copies[1].end_session().await?.status(), 503);
    // What is said meanwhile comes by the stream that is there.
    copies[0]
        .create_tool("made.meanwhile", "return 1;", json!({"runtime": "isolate"}))
        .await?;
    stream.find(is_list_changed).await?;

    cluster.restart_redis().await?;
    cluster.until_ready(SOON).await;
    for copy in &copies {
        eventually(SOON, async || {
            let answer = copy.send(&copy.request("ping", json!({}))).await?;
            ensure!(answer.status() == 200, "{}", answer.status());
            Ok(())
        })
        .await;
    }
    // The stream has been taken over by what replicas share again.
    copies[1]
        .create_tool("made.after.all", "return 1;", json!({"runtime": "isolate"}))
        .await?;
    stream.find(is_list_changed).await?;
    cluster.stop().await
}
