//! A session of the older era is one of all replicas: nothing sticks it to the one where it began.

mod attacks;
mod faults;
mod limits;
mod messages;
mod streams;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, EventStream, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::on::On;
use serde_json::{Value, json};

const LIST_CHANGED: &str = "notifications/tools/list_changed";
const SOON: Duration = Duration::from_secs(20);
/// What a stream that hears nothing more is given to say something after all.
const QUIET: Duration = Duration::from_millis(700);

/// Three replicas, and one executor for what has to run.
fn plan() -> Plan {
    Plan::default().executors(&[On::Isolate])
}

/// The client's session, at each of the replicas that are up.
fn everywhere(cluster: &Cluster, client: &McpClient) -> Vec<McpClient> {
    let up = cluster.replicas.iter().filter(|replica| replica.is_up());
    up.map(|replica| client.by(&replica.base_url())).collect()
}

async fn echoes(client: &McpClient) -> Result<()> {
    let answer = client.structured("dev.echo", json!({"message": "here"})).await?;
    ensure!(answer["message"] == "here", "{answer}");
    Ok(())
}

fn is_list_changed(message: &Value) -> bool {
    message["method"] == LIST_CHANGED
}

/// The next of that kind, where one comes within a while.
async fn unless_quiet(stream: &mut EventStream, fits: impl Fn(&Value) -> bool) -> Result<Option<Value>> {
    let waiting = async {
        loop {
            match stream.next().await? {
                Some(message) if fits(&message) => return anyhow::Ok(message),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    };
    tokio::time::timeout(QUIET, waiting).await.ok().transpose()
}

/// Nothing more of that kind comes for a while.
async fn stays_quiet(stream: &mut EventStream, fits: impl Fn(&Value) -> bool) -> Result<()> {
    match unless_quiet(stream, fits).await? {
        Some(message) => anyhow::bail!("there was more: {message}"),
        None => Ok(()),
    }
}

#[tokio::test]
async fn a_session_is_served_by_every_replica_and_its_end_is_heard_by_all() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    let client = cluster.client(Era::Legacy).await?;
    for _ in 0..12 {
        echoes(&client).await?;
    }
    let copies = everywhere(&cluster, &client);
    // At once, so that a copy is asked for by several while it is made.
    let other = cluster.client(Era::Legacy).await?;
    let at_once: Vec<_> = (0..24).map(|_| echoes(&other)).collect();
    for echoed in futures::future::join_all(at_once).await {
        echoed?;
    }

    let mut stream = copies[2].notifications().await?;
    copies[1].end_session().await?.error_for_status()?;
    let rest = tokio::time::timeout(SOON, stream.next()).await;
    let rest = rest.context("the stream of an ended session stays open")?;
    assert!(matches!(rest, Ok(None) | Err(_)), "{rest:?}");
    for copy in &copies {
        eventually(SOON, async || {
            let answer = copy.send(&copy.request("tools/list", json!({}))).await?;
            ensure!(
                answer.status() == 404,
                "the session is answered {}",
                answer.status()
            );
            Ok(())
        })
        .await;
        assert_eq!(copy.end_session().await?.status(), 404);
    }
    echoes(&other).await?;
    cluster.stop().await
}
