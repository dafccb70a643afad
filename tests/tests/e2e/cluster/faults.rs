//! The failure table of the design, row by row: each makes its fault happen on the whole cluster. What a row takes is
//! printed in a line that begins with `fault row`, and asserted with room for a busy machine.

mod client_gone;
mod control_plane_killed;
mod cut_off;
mod docker;
mod executor_killed;
mod hostile;
mod legacy_client_gone;
mod postgres_lost;
mod redis_lost;
mod terminated;

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::eventually::eventually;

/// For how long a permit is good without being renewed, and what a lost executor or replica costs at most.
const LEASE: Duration = Duration::from_secs(8);

/// Waits until no executor that is up runs the code of a job; answers how long it took.
async fn until_nothing_runs(cluster: &Cluster, limit: Duration) -> Duration {
    eventually(limit, async || {
        for (index, node) in cluster.executors.iter().enumerate() {
            if !node.is_up() {
                continue;
            }
            let running: Vec<_> = node
                .ran()?
                .into_iter()
                .filter(|span| span.ended.is_none())
                .collect();
            ensure!(running.is_empty(), "executor {index} runs {running:?}");
        }
        Ok(())
    })
    .await
}

/// The executors on which the code of a job runs now.
fn running_on(cluster: &Cluster) -> Result<Vec<usize>> {
    let mut running = Vec::new();
    for (index, node) in cluster.executors.iter().enumerate() {
        if node.is_up() && node.ran()?.iter().any(|span| span.ended.is_none()) {
            running.push(index);
        }
    }
    Ok(running)
}
