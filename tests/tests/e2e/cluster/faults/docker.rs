//! What containers add: they outlive who made them, and code in them has more of the machine to take.

mod sessions;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::docker::running_containers_of;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::running::Running;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::hostile::neighbour;
use crate::cluster::{FOR_EVER, SOON, until_active};

const FORKS: &str = "const { spawn } = await import('node:child_process'); \
    const children = []; for (let n = 0; n < 5000; n++) { \
    const child = spawn('/bin/sleep', ['30']); child.on('error', () => {}); children.push(child); } \
    await new Promise(() => {});";
const DISK: &str = "const fs = await import('node:fs'); const block = Buffer.alloc(1 << 20, 1); \
    for (;;) { try { fs.appendFileSync('/workspace/full', block); } catch { break; } } \
    for (;;) { try { fs.appendFileSync('/tmp/full', block); } catch { break; } } return 'full';";

fn plan() -> Plan {
    Plan::default().executors(&[On::Docker, On::Isolate])
}

#[tokio::test]
async fn a_killed_executors_call_is_interrupted_and_its_next_life_removes_the_container() -> Result<()> {
    const TOLD: Duration = Duration::from_secs(2);
    const REMOVED: Duration = Duration::from_secs(10);
    let mut cluster = Cluster::start(plan()).await?;
    let id = cluster.executors[0].id()?;
    cluster
        .make_tool(
            "endless",
            FOR_EVER,
            json!({"runtime": "node", "timeoutMs": 120_000}),
        )
        .await?;
    let client = cluster.client(Era::Modern).await?;
    let call = Running::start(&client, "endless", json!({})).await?;
    ensure!(running_containers_of(&id).await?.len() == 1, "its container");

    let killed = Instant::now();
    cluster.kill_executor(0).await;
    let ended = call.structured().await?;
    assert_eq!(ended["outcome"], "interrupted", "{ended}");
    fault_row(
        "executor killed mid-call (container): interrupted",
        TOLD,
        killed.elapsed(),
    );
    until_active(&client, 0, SOON).await;

    let began = Instant::now();
    cluster.start_executor(0).await?;
    eventually(with_room(REMOVED), async || {
        let left = cluster.executors[0].state().containers().await?;
        ensure!(left.is_empty(), "left are {left:?}");
        Ok(())
    })
    .await;
    fault_row(
        "executor restarted: its old containers are gone",
        REMOVED,
        began.elapsed(),
    );
    cluster.stop().await
}

#[tokio::test]
async fn forks_and_a_full_disk_are_that_calls_outcome_and_no_neighbours_matter() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(5);
    const PROMPT: Duration = Duration::from_secs(2);
    let cluster = Cluster::start(plan()).await?;
    cluster
        .make_tool("quick", "return args.n;", json!({"runtime": "isolate"}))
        .await?;
    let bomber = cluster.client(Era::Modern).await?;
    let stop = CancellationToken::new();
    let mut clients = Vec::new();
    for replica in &cluster.replicas {
        clients.push(replica.client(Era::Modern).await?);
    }
    let bombs = async {
        let _ended = stop.clone().drop_guard();
        for (name, code, outcomes) in [
            ("fork bomb", FORKS, ["timed_out", "threw", "out_of_memory"]),
            ("disk fill", DISK, ["ok", "threw", "out_of_memory"]),
        ] {
            let began = Instant::now();
            let run = json!({"code": code, "runtime": "node", "timeoutMs": 5_000});
            let ended = bomber.call("run_js_ephemeral", run).await?["structuredContent"].clone();
            let outcome = ended["outcome"].as_str().unwrap_or_default();
            ensure!(outcomes.contains(&outcome), "{name}: {ended}");
            fault_row(
                &format!("{name}: its own outcome, {outcome}"),
                LIMIT,
                began.elapsed(),
            );
        }
        Ok(())
    };
    let neighbours = futures::future::try_join_all(clients.iter().map(|client| neighbour(client, &stop)));
    let ((), neighbours) = tokio::try_join!(bombs, neighbours)?;
    for (calls, slowest) in neighbours {
        fault_row(
            &format!("a bomb's neighbour: {calls} calls, the slowest"),
            PROMPT,
            slowest,
        );
    }
    cluster.stop().await
}
