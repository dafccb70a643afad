//! Code that takes all that it can, on executors that all replicas share: its neighbours don't notice.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::fault_row;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What its own time-out is.
const LIMIT: Duration = Duration::from_secs(2);
/// On two cores of which the bombs burn both.
const PROMPT: Duration = Duration::from_secs(2);

const BOMBS: [(&str, &str, &[&str]); 4] = [
    ("endless loop", "for (;;);", &["timed_out"]),
    (
        "memory bomb",
        "const all = []; for (;;) all.push(new Array(100000).fill(Math.random()));",
        &["out_of_memory", "threw", "timed_out"],
    ),
    (
        "endless output",
        "for (;;) console.log('x'.repeat(10000));",
        &["timed_out"],
    ),
    (
        "endless promises",
        "const again = () => Promise.resolve().then(again); await again();",
        &["timed_out", "out_of_memory"],
    ),
];

pub(super) async fn neighbour(client: &McpClient, stop: &CancellationToken) -> Result<(u64, Duration)> {
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = client.structured("quick", json!({"args": {"n": calls}})).await?;
        ensure!(answer["result"] == calls, "{answer}");
        slowest = slowest.max(asked.elapsed());
        calls += 1;
    }
    Ok((calls, slowest))
}

async fn bomb(client: &McpClient, name: &str, code: &str, outcomes: &[&str]) -> Result<()> {
    let began = Instant::now();
    let run = json!({"code": code, "timeoutMs": LIMIT.as_millis() as u64});
    let ended: Value = client.call("run_js_ephemeral", run).await?["structuredContent"].clone();
    let outcome = ended["outcome"].as_str().unwrap_or_default();
    ensure!(outcomes.contains(&outcome), "{name}: {ended}");
    fault_row(
        &format!("{name}: its own outcome, {outcome}"),
        LIMIT,
        began.elapsed(),
    );
    Ok(())
}

#[tokio::test]
async fn each_bomb_has_its_own_outcome_and_calls_through_every_replica_go_on() -> Result<()> {
    let cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("quick", "return args.n;", json!({})).await?;
    let bomber = cluster.client(Era::Modern).await?;
    let stop = CancellationToken::new();
    let mut clients = Vec::new();
    for replica in &cluster.replicas {
        clients.push(replica.client(Era::Modern).await?);
    }
    let bombs = async {
        for (name, code, outcomes) in BOMBS {
            bomb(&bomber, name, code, outcomes).await?;
        }
        stop.cancel();
        anyhow::Ok(())
    };
    let neighbours = futures::future::try_join_all(clients.iter().map(|client| neighbour(client, &stop)));
    let ((), neighbours) = tokio::try_join!(bombs, neighbours)?;
    for (calls, slowest) in neighbours {
        assert!(calls > 0);
        fault_row(
            &format!("a bomb's neighbour: {calls} calls, the slowest"),
            PROMPT,
            slowest,
        );
    }
    cluster.stop().await
}
