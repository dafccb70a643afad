//! Three replicas behind a balancer to which nothing sticks, four executors, a Postgres and a Redis: they act as one server,
//! whatever is killed, held still or cut off.

mod faults;
mod guard;
mod rolling_restart;
mod slots;
mod whole;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::McpClient;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::running::Running;
use serde_json::json;

/// For what a person would call at once.
const SOON: Duration = Duration::from_secs(20);

/// The code of a call that runs until it is ended, and says when it begins.
const FOR_EVER: &str = "ctx.progress(1); for (;;);";

/// How many calls run by the servers' own count.
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

/// Starts a call that runs until it is ended, as soon as the guard lets it through.
async fn let_through(client: &McpClient, tool: &str, limit: Duration) -> Result<Running> {
    let began = Instant::now();
    loop {
        match Running::start(client, tool, json!({})).await {
            Err(refused) if began.elapsed() > limit => return Err(refused),
            // A refusal has waited in the queue.
            Err(_) => {}
            started => return started,
        }
    }
}
