//! Where the executors are full, whatever the limits allow, no replica takes every slot that comes free.

use std::time::Duration;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use futures::future::{join_all, try_join_all};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::guard::{BRIEF, busy};

const FLOOD: usize = 8;
const BESIDE_IT: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_replica_that_floods_a_full_executor_leaves_another_its_share() -> Result<()> {
    let plan = Plan::default()
        .executors(&[On::Isolate])
        .executor("MCP_SANDBOX_SLOTS", "2");
    let cluster = Cluster::start(plan).await?;
    cluster.make_tool("brief", BRIEF, json!({})).await?;
    let flood = try_join_all((0..FLOOD).map(|_| cluster.replicas[0].client(Era::Modern))).await?;
    let quiet = cluster.replicas[1].client(Era::Modern).await?;
    let stop = CancellationToken::new();
    let timer = async {
        tokio::time::sleep(BESIDE_IT).await;
        stop.cancel();
    };
    let (flood_ran, quiet_ran, ()) = tokio::join!(
        join_all(flood.iter().map(|client| busy(client, "brief", &stop))),
        busy(&quiet, "brief", &stop),
        timer
    );
    let flood_ran: usize = flood_ran.iter().sum();
    let share = quiet_ran as f64 / (quiet_ran + flood_ran) as f64;
    measured(format!(
        "8 callers through one replica ran {flood_ran} calls, 1 through another {quiet_ran}: a share of {share:.2}"
    ));
    assert!(share > 0.08, "the quiet replica got a share of {share:.2}");
    cluster.stop().await
}
