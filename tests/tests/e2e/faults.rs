//! Parts that die, hang or go away in the middle of something. Every bound is asserted with room for a busy machine; what
//! was measured is printed.

mod all_in_one_killed;
mod client_gone;
mod docker;
mod isolates_killed;
mod postgres_lost;

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::McpClient;
use dynamic_mcp_tests::docker::{containers_of, running_containers_of};
use dynamic_mcp_tests::eventually::eventually;
use serde_json::{Value, json};

/// Every container is a call's then, so that one which is left is seen.
const NO_POOL: [(&str, &str); 2] = dynamic_mcp_tests::server::NO_POOL;
/// For what a person would call at once.
const SOON: Duration = Duration::from_secs(20);

/// The code of a call that runs until it is ended, and says when it begins.
const FOR_EVER: &str = "ctx.progress(1); for (;;);";

/// How many calls run by the server's own count.
async fn active(client: &McpClient) -> Result<u64> {
    let metrics = client.structured("system.guard_metrics", json!({})).await?;
    Ok(metrics["activeExecutions"].as_u64().unwrap_or(u64::MAX))
}

/// Waits until that many calls run; answers how long it took.
async fn until_active(client: &McpClient, count: u64, limit: Duration) -> Duration {
    eventually(limit, async || {
        let active = active(client).await?;
        ensure!(active == count, "{active} calls are active, not {count}");
        Ok(())
    })
    .await
}

/// Waits until an executor has made a container, whether or not anything runs in it yet.
async fn until_made(executor: &str) -> Duration {
    eventually(SOON, async || {
        ensure!(
            !containers_of(executor).await?.is_empty(),
            "no container is in the making"
        );
        Ok(())
    })
    .await
}

/// Waits until processes run in that many containers of an executor; answers how long it took.
async fn until_running(executor: &str, count: usize, limit: Duration) -> Duration {
    eventually(limit, async || {
        let running = running_containers_of(executor).await?;
        ensure!(running.len() == count, "running are {running:?}, not {count}");
        Ok(())
    })
    .await
}

/// Waits until at most that many containers of an executor are left; answers how long it took.
async fn until_left(executor: &str, most: usize, limit: Duration) -> Duration {
    eventually(limit, async || {
        let left = containers_of(executor).await?;
        ensure!(left.len() <= most, "left are {left:?}, more than {most}");
        Ok(())
    })
    .await
}

/// What `/readyz` says.
async fn readyz(base_url: &str) -> Result<(u16, Value)> {
    let response = reqwest::get(format!("{base_url}/readyz")).await?;
    Ok((response.status().as_u16(), response.json().await?))
}

/// Waits until `/readyz` says that status, and names that part when it is degraded.
async fn until_readyz(base_url: &str, status: &str, degraded: Option<&str>, limit: Duration) -> Duration {
    eventually(limit, async || {
        let (code, report) = readyz(base_url).await?;
        let named = degraded.is_none_or(|part| report["degraded"][part].is_string());
        ensure!(
            code == 200 && report["status"] == status && named,
            "/readyz is {code} {report}"
        );
        Ok(())
    })
    .await
}
