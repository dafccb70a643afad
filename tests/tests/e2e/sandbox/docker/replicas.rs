//! Sessions through several replicas, to none of which a client sticks.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use serde_json::json;

use super::{exec, open, said};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_session_is_used_through_any_replica_and_lost_at_once_with_its_executor() -> Result<()> {
    let mut cluster = Cluster::start(Plan::default().replicas(2).executors(&[On::Docker])).await?;
    let client = cluster.client(Era::Modern).await?;
    let id = open(&client).await?;
    for n in 0..6 {
        let done = exec(&client, &id, &[&format!("echo {n} >> seen; wc -l < seen")]).await?;
        let lines = done["commands"][0]["stdout"].as_str().unwrap_or_default().trim();
        assert_eq!(lines, (n + 1).to_string(), "{done}");
    }
    // Whichever replica opened it, the other one goes on with it.
    cluster.kill_replica(0).await;
    let left = cluster.replicas[1].client(Era::Modern).await?;
    assert_eq!(exec(&left, &id, &["true"]).await?["ok"], true);

    cluster.restart_redis().await?;
    let back = eventually(SOON, async || {
        let listed = said(&left, "sandbox.session.list", json!({})).await?;
        ensure!(
            listed["sessions"].as_array().is_some_and(|all| all.len() == 1),
            "{listed}"
        );
        Ok(())
    })
    .await;
    measured(format!(
        "a session was known again {back:?} after Redis came back empty"
    ));
    assert_eq!(exec(&left, &id, &["true"]).await?["ok"], true);

    cluster.kill_executor(0).await;
    let lost = eventually(SOON, async || {
        let answer = exec(&left, &id, &["true"]).await?;
        ensure!(answer["reason"] == "session_lost", "{answer}");
        Ok(())
    })
    .await;
    measured(format!(
        "a session was lost {lost:?} after its executor was killed"
    ));
    cluster.stop().await
}
