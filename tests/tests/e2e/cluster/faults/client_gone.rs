//! Clients of the newest era that give up.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use serde_json::json;

use super::until_nothing_runs;
use crate::cluster::{FOR_EVER, until_active};

const BOUND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_closed_stream_of_the_newest_era_ends_its_call_and_returns_its_permit() -> Result<()> {
    let cluster = Cluster::start(Plan::default()).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let client = cluster.client(Era::Modern).await?;
    for _ in 0..3 {
        let call = Running::start(&client, "endless", json!({})).await?;
        let closed = Instant::now();
        drop(call);
        until_nothing_runs(&cluster, with_room(BOUND)).await;
        until_active(&client, 0, with_room(BOUND)).await;
        fault_row(
            "2026 stream closed: code ended, permit back",
            BOUND,
            closed.elapsed(),
        );
    }
    cluster.stop().await
}
