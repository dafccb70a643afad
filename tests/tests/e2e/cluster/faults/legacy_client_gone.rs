//! Clients of a 2025 session that give up, where the balancer has spread what they sent over all replicas.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::{fault_row, with_room};
use dynamic_mcp_tests::running::Running;
use serde_json::json;

use super::{running_on, until_nothing_runs};
use crate::cluster::{FOR_EVER, SOON, until_active};

const BOUND: Duration = Duration::from_secs(1);

/// The notification comes to another replica than the call.
#[tokio::test]
async fn a_cancel_ends_the_call_of_a_legacy_session_on_whichever_replica_it_is() -> Result<()> {
    let cluster = Cluster::start(Plan::default()).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 60_000}))
        .await?;
    let client = cluster.client(Era::Legacy).await?;
    for _ in 0..3 {
        let call = Running::start(&client, "endless", json!({})).await?;
        let params = json!({"requestId": call.id(), "reason": "changed my mind"});
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        let sent = Instant::now();
        client.send(&cancel).await?.error_for_status()?;
        until_nothing_runs(&cluster, with_room(BOUND)).await;
        until_active(&client, 0, with_room(BOUND)).await;
        fault_row(
            "notifications/cancelled: code ended, permit back",
            BOUND,
            sent.elapsed(),
        );
        drop(call);
    }
    cluster.stop().await
}

#[tokio::test]
async fn a_legacy_call_outlives_its_connection_and_ends_at_its_deadline() -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(3);
    let cluster = Cluster::start(Plan::default()).await?;
    cluster
        .make_tool("endless", FOR_EVER, json!({"timeoutMs": 3_000}))
        .await?;
    let client = cluster.client(Era::Legacy).await?;
    let call = Running::start(&client, "endless", json!({})).await?;
    let began = Instant::now();
    drop(call);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running_on(&cluster)?.len(), 1, "it was ended with its connection");
    until_nothing_runs(&cluster, with_room(DEADLINE)).await;
    fault_row(
        "legacy client gone: the call runs to its deadline",
        DEADLINE,
        began.elapsed(),
    );
    until_active(&client, 0, SOON).await;
    cluster.stop().await
}
