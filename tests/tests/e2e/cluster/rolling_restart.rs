//! All replicas are started again, one after the other, under load: whoever calls again when a connection breaks notices
//! nothing, and no session ends.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::measured;
use futures::future::try_join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::SOON;

const CLIENTS: u32 = 4;
const BRIEF: &str = "await new Promise((done) => setTimeout(done, 50)); return args.n;";

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    calls: u32,
    again: u32,
    slowest: Duration,
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            again: self.again + other.again,
            slowest: self.slowest.max(other.slowest),
        }
    }
}

/// Calls without a pause until it is told to stop, and calls again when it got no answer, or was told to.
async fn busy(client: &McpClient, stop: &CancellationToken) -> Result<Seen> {
    let mut seen = Seen::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        seen.calls += 1;
        while !is_answered(client, seen.calls).await? {
            seen.again += 1;
            ensure!(began.elapsed() < SOON, "not answered within {SOON:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        seen.slowest = seen.slowest.max(began.elapsed());
    }
    Ok(seen)
}

/// Whether there was a good answer; fails when there was a wrong one.
async fn is_answered(client: &McpClient, n: u32) -> Result<bool> {
    let params = json!({"name": "brief", "arguments": {"args": {"n": n}}});
    let message = client.request("tools/call", params);
    let Ok(response) = client.send(&message).await else {
        return Ok(false);
    };
    ensure!(response.status() != 404, "the session has ended");
    let id = message["id"].as_u64().context("an id")?;
    // It may break off in the middle of an answer, or say itself that it takes nothing more.
    let Ok(answer) = dynamic_mcp_tests::client::answer(response, id).await else {
        return Ok(false);
    };
    let content = &answer["result"]["structuredContent"];
    match content["outcome"].as_str() {
        Some("ok") => ensure!(content["result"] == n, "{n} was answered with {answer}"),
        Some("never_started") => return Ok(false),
        Some(other) => anyhow::bail!("{other}: {answer}"),
        // One that has not read the registry yet says so, as one says that has lost its database.
        None => {
            let asks_for_another_try = content["kind"] == "unavailable" || answer["error"].is_object();
            ensure!(asks_for_another_try, "{answer}");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where all of it has just started, a busy machine may keep Redis from an answer in time: then a session is not there for
/// the other replicas yet, and its client begins another one. The sessions that are held are those after that.
async fn connected(cluster: &Cluster, era: Era) -> Result<McpClient> {
    let began = Instant::now();
    loop {
        match cluster.client(era).await {
            Err(_) if began.elapsed() < SOON => tokio::time::sleep(Duration::from_millis(250)).await,
            ended => return ended,
        }
    }
}

async fn under_load(era: Era) -> Result<()> {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("brief", BRIEF, json!({})).await?;
    let clients = try_join_all((0..CLIENTS).map(|_| connected(&cluster, era))).await?;
    let sessions: Vec<_> = clients
        .iter()
        .map(|client| client.session().map(str::to_owned))
        .collect();
    let stop = CancellationToken::new();
    let calls = try_join_all(clients.iter().map(|client| busy(client, &stop)));
    let restarts = async {
        let _ended = stop.clone().drop_guard();
        for index in 0..cluster.replicas.len() {
            cluster.terminate_replica(index).await;
            cluster.start_replica(index).await?;
            cluster.until_ready(SOON).await;
        }
        anyhow::Ok(())
    };
    let (seen, ()) = tokio::try_join!(calls, restarts)?;
    let seen = seen.into_iter().fold(Seen::default(), Seen::and);
    measured(format!("{era:?}: {seen:?} while all three were started again"));
    for (client, before) in clients.iter().zip(sessions) {
        ensure!(client.session().map(str::to_owned) == before, "another session");
        for n in 0..3 {
            ensure!(
                is_answered(client, n).await?,
                "not answered after the last restart"
            );
        }
    }
    cluster.stop().await
}

#[tokio::test]
async fn calls_of_the_newest_era_are_all_answered_and_none_wrongly() -> Result<()> {
    under_load(Era::Modern).await
}

#[tokio::test]
async fn no_legacy_session_ends_and_its_calls_are_all_answered() -> Result<()> {
    under_load(Era::Legacy).await
}
