//! A cluster to which nothing happens.

use std::time::Instant;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::measured::measured;
use serde_json::json;

#[tokio::test]
async fn a_tool_that_one_replica_made_runs_through_every_other_one() -> Result<()> {
    let began = Instant::now();
    let cluster = Cluster::start(Plan::default()).await?;
    measured(format!(
        "3 replicas and 4 executors were there after {:?}",
        began.elapsed()
    ));
    cluster
        .make_tool("double", "return args.n * 2;", json!({}))
        .await?;
    let client = cluster.client(Era::Modern).await?;
    for n in 0..12 {
        let answer = client.structured("double", json!({"args": {"n": n}})).await?;
        assert_eq!(answer["result"], n * 2, "{answer}");
    }
    let mut ran = 0;
    for node in &cluster.executors {
        ran += node.ran()?.len();
    }
    assert_eq!(ran, 12, "each call ran once, on one executor");
    let stopping = Instant::now();
    cluster.stop().await?;
    measured(format!("they had ended after {:?}", stopping.elapsed()));
    Ok(())
}
