//! Postgres is gone from every replica's view, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::fault_row;
use dynamic_mcp_tests::proxy::Proxy;
use serde_json::json;

use crate::cluster::SOON;

const BOUND: Duration = Duration::from_secs(1);
/// How long the first look at it that is late takes.
const NOTICED: Duration = Duration::from_secs(3);

#[tokio::test]
async fn known_tools_run_through_every_replica_and_writes_fail_clearly_until_it_is_back() -> Result<()> {
    for (how, lose) in [("closed", Proxy::cut as fn(&Proxy)), ("swallowed", Proxy::stall)] {
        let cluster = Cluster::start(Plan::default()).await?;
        cluster.make_tool("known", "return 'here';", json!({})).await?;
        let client = cluster.client(Era::Modern).await?;
        for replica in &cluster.replicas {
            lose(&replica.postgres);
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..6 {
            let asked = Instant::now();
            assert_eq!(client.structured("known", json!({})).await?["result"], "here");
            slowest = slowest.max(asked.elapsed());
        }
        fault_row(
            &format!("Postgres lost ({how}): a known tool runs"),
            BOUND,
            slowest,
        );

        let tool = json!({"name": "unknown", "description": "Can't be stored now.", "code": "return 1;"});
        let mut slowest = Duration::ZERO;
        for _ in 0..3 {
            let asked = Instant::now();
            let write = client.call("dynamic.tool.create", json!({"tool": tool}));
            let refused = tokio::time::timeout(SOON, write)
                .await
                .context("the write hangs")??;
            assert_eq!(refused["structuredContent"]["kind"], "unavailable", "{refused}");
            slowest = slowest.max(asked.elapsed());
        }
        fault_row(
            &format!("Postgres lost ({how}): a write is refused"),
            NOTICED,
            slowest,
        );
        for replica in &cluster.replicas {
            replica.until("degraded", Some("registry"), SOON).await;
        }

        let back = Instant::now();
        for replica in &cluster.replicas {
            replica.postgres.flow();
        }
        cluster.until_ready(SOON).await;
        fault_row(
            &format!("Postgres lost ({how}): recovered"),
            NOTICED,
            back.elapsed(),
        );
        cluster.make_tool("afterwards", "return 1;", json!({})).await?;
        cluster.stop().await?;
    }
    Ok(())
}
