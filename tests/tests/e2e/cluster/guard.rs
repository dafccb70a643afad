//! The limits hold over all replicas: measured in the executors, by when the code of each call began and ended there.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::{Cluster, Plan, Span};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::Issuer;
use dynamic_mcp_tests::measured::{fault_row, measured, with_room};
use dynamic_mcp_tests::running::Running;
use futures::future::{join_all, try_join_all};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{FOR_EVER, SOON, active, let_through, until_active};

const LIMIT: usize = 5;
const CLIENTS: usize = 8;
const LEASE: Duration = Duration::from_secs(8);
/// Long enough that calls overlap, short enough that there are many.
pub(super) const BRIEF: &str =
    "await new Promise((done) => setTimeout(done, 30 + Math.random() * 60)); return 1;";

fn plan() -> Plan {
    Plan::default().replica("MCP_TOOL_MAX_CONCURRENCY", "5")
}

/// The most of these that ran at one time.
pub(super) fn most_at_once(spans: &[Span]) -> usize {
    let mut changes: Vec<(&str, i32)> = Vec::new();
    for span in spans {
        changes.push((&span.began, 1));
        if let Some(ended) = &span.ended {
            changes.push((ended, -1));
        }
    }
    // At the same microsecond an end comes first: a permit may have passed on in it.
    changes.sort_unstable();
    let (mut now, mut most) = (0_i32, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

fn ran(cluster: &Cluster) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for node in &cluster.executors {
        spans.extend(node.ran()?);
    }
    Ok(spans)
}

/// Calls until it is told to stop; answers how many were let through.
pub(super) async fn busy(client: &McpClient, tool: &str, stop: &CancellationToken) -> usize {
    let mut ran = 0;
    while !stop.is_cancelled() {
        let answer = client.call(tool, json!({})).await;
        match answer {
            Ok(answer) if answer["structuredContent"]["outcome"] == "ok" => ran += 1,
            // Refused, or lost with its replica: at once again would only burn the processors.
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    ran
}

async fn clients(cluster: &Cluster) -> Result<Vec<McpClient>> {
    try_join_all((0..CLIENTS).map(|_| cluster.client(Era::Modern))).await
}

#[tokio::test]
async fn eight_clients_of_three_replicas_never_run_more_than_the_limit() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    cluster.make_tool("brief", BRIEF, json!({})).await?;
    let clients = clients(&cluster).await?;
    let stop = CancellationToken::new();
    let timer = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stop.cancel();
    };
    let (ran_ok, ()) = tokio::join!(
        join_all(clients.iter().map(|client| busy(client, "brief", &stop))),
        timer
    );
    let spans = ran(&cluster)?;
    let most = most_at_once(&spans);
    measured(format!(
        "{} calls, at most {most} at once; by client: {ran_ok:?}",
        spans.len()
    ));
    assert_eq!(most, LIMIT, "the limit was passed, or never reached");
    assert!(
        ran_ok.iter().all(|count| *count > 0),
        "a client starved: {ran_ok:?}"
    );
    until_active(&clients[0], 0, SOON).await;
    cluster.stop().await
}

#[tokio::test]
async fn the_limit_holds_while_replicas_are_killed_and_all_permits_come_back() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.make_tool("brief", BRIEF, json!({})).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let clients = clients(&cluster).await?;
    let stop = CancellationToken::new();
    let calls = join_all(clients.iter().map(|client| busy(client, "brief", &stop)));
    let kills = async {
        for index in [0, 1, 2, 0] {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            cluster.kill_replica(index).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.start_replica(index).await?;
        }
        stop.cancel();
        anyhow::Ok(())
    };
    let (_ran_ok, killed) = tokio::join!(calls, kills);
    killed?;
    let spans = ran(&cluster)?;
    let most = most_at_once(&spans);
    measured(format!(
        "{} calls under four kills, at most {most} at once",
        spans.len()
    ));
    assert!(most <= LIMIT, "{most} ran at once");
    assert!(most >= LIMIT - 1, "the limit was not tried: {most}");

    // All of them at once, on a replica that is killed with them.
    cluster.until_ready(SOON).await;
    let doomed = cluster.replicas[1].client(Era::Modern).await?;
    until_active(&doomed, 0, SOON).await;
    let mut held = Vec::new();
    for _ in 0..LIMIT {
        held.push(Running::start(&doomed, "endless", json!({})).await?);
    }
    let killed = Instant::now();
    cluster.kill_replica(1).await;
    let client = cluster.replicas[0].client(Era::Modern).await?;
    let mut back = Vec::new();
    while back.len() < LIMIT {
        back.push(let_through(&client, "endless", with_room(LEASE)).await?);
    }
    fault_row(
        "replica killed: all permits taken by others",
        LEASE,
        killed.elapsed(),
    );
    let most = most_at_once(&ran(&cluster)?);
    assert!(most <= LIMIT, "{most} ran at once");
    drop((held, back));
    until_active(&client, 0, SOON).await;
    cluster.start_replica(1).await?;
    cluster.stop().await
}

/// It neither renews its permits nor can be told that they are gone; what it ran has to end all the same.
#[tokio::test]
async fn the_limit_holds_while_a_replica_is_held_still() -> Result<()> {
    let cluster = Cluster::start(plan()).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let still = cluster.replicas[0].client(Era::Modern).await?;
    let mut held = Vec::new();
    for _ in 0..LIMIT {
        held.push(Running::start(&still, "endless", json!({})).await?);
    }
    let stopped = Instant::now();
    cluster.replicas[0].process().signal("STOP").await;
    let client = cluster.replicas[1].client(Era::Modern).await?;
    let mut next = Vec::new();
    while next.len() < LIMIT {
        next.push(let_through(&client, "endless", with_room(LEASE)).await?);
    }
    fault_row(
        "replica held still: all permits taken by others",
        LEASE,
        stopped.elapsed(),
    );
    let spans = ran(&cluster)?;
    let most = most_at_once(&spans);
    assert!(most <= LIMIT, "{most} ran at once: {spans:#?}");
    cluster.replicas[0].process().signal("CONT").await;
    for call in held {
        let ended = call.structured().await;
        assert!(
            ended.as_ref().map_or(true, |answer| answer["outcome"] != "ok"),
            "it was answered as if nothing had been: {ended:?}"
        );
    }
    drop(next);
    until_active(&client, 0, SOON).await;
    cluster.until_ready(SOON).await;
    cluster.stop().await
}

#[tokio::test]
async fn a_tenant_that_floods_leaves_another_its_share() -> Result<()> {
    const FLOOD: usize = 24;
    let issuer = Issuer::start().await?;
    let mut with_tokens = plan().replica("MCP_TOOL_QUEUE_WAIT_MS", "10000");
    for (name, value) in issuer.settings() {
        with_tokens = with_tokens.replica(name, &value);
    }
    let cluster = Cluster::start(with_tokens).await?;
    let as_tenant = async |tenant: &str| {
        let token = issuer.token(&json!({"tenant": tenant, "sub": tenant}))?;
        McpClient::connect_as(cluster.base_url(), Era::Modern, Some(&token)).await
    };
    let flood = try_join_all((0..FLOOD).map(|_| as_tenant("flood"))).await?;
    let quiet = try_join_all((0..4).map(|_| as_tenant("quiet"))).await?;
    for client in [&flood[0], &quiet[0]] {
        client.create_tool("brief", BRIEF, json!({})).await?;
    }
    for client in flood.iter().take(3).chain(&quiet) {
        for _ in 0..3 {
            eventually(SOON, async || {
                let listed = client.tool_names().await?.contains(&"brief".to_owned());
                ensure!(listed, "a replica does not show it yet");
                Ok(())
            })
            .await;
        }
    }
    let stop = CancellationToken::new();
    let (all, beside_it) = (CancellationToken::new(), Duration::from_secs(6));
    let shares = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let timer = async {
            tokio::time::sleep(beside_it).await;
            all.cancel();
        };
        let (quiet_ran, ()) = tokio::join!(
            join_all(quiet.iter().map(|client| busy(client, "brief", &all))),
            timer
        );
        stop.cancel();
        quiet_ran.iter().sum::<usize>()
    };
    let (flood_ran, quiet_ran) = tokio::join!(
        join_all(flood.iter().map(|client| busy(client, "brief", &stop))),
        shares
    );
    let flood_ran: usize = flood_ran.iter().sum();
    // The flood had a second for itself.
    let together = flood_ran as f64 * beside_it.as_secs_f64() / (beside_it.as_secs_f64() + 1.0);
    let share = quiet_ran as f64 / (quiet_ran as f64 + together);
    measured(format!(
        "24 callers of one tenant ran {flood_ran} calls, 4 of another {quiet_ran}: a share of {share:.2}"
    ));
    assert!(share > 0.3, "the quiet tenant got a share of {share:.2}");
    assert!(most_at_once(&ran(&cluster)?) <= LIMIT);
    eventually(SOON, async || {
        let active = active(&quiet[0]).await.context("an operator's figure")?;
        ensure!(active == 0, "{active} calls are active");
        Ok(())
    })
    .await;
    cluster.stop().await
}
