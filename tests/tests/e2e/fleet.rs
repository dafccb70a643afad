//! Two replicas that share a Redis, and an executor that has joined one of them.

mod drain;
mod joined_one;
mod lost_redis;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::proxy::Proxy;
use dynamic_mcp_tests::redis::RedisServer;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// They need no container, and show the same.
const ISOLATES: [(&str, &str); 1] = [("MCP_EXECUTION_ENGINE", "isolate")];

struct Two {
    near: ControlPlane,
    /// The executor has not joined this one.
    far: ControlPlane,
    executor: Executor,
    redis: RedisServer,
    /// What both replicas reach it by.
    link: Proxy,
}

impl Two {
    async fn start() -> Result<Self> {
        let redis = RedisServer::start().await?;
        let link = Proxy::before(redis.address()).await?;
        let url = redis.url_by(link.address());
        let settings = [("MCP_REDIS_URL", url.as_str())];
        let (near, far) = (
            ControlPlane::start(&settings).await?,
            ControlPlane::start(&settings).await?,
        );
        let executor = Executor::start(&near, &ISOLATES).await?;
        let two = Self {
            near,
            far,
            executor,
            redis,
            link,
        };
        two.near.ready().await?;
        two.far.ready().await?;
        Ok(two)
    }

    async fn far_client(&self) -> Result<McpClient> {
        self.far.client(Era::Modern).await
    }

    async fn stop(self) {
        self.executor.stop().await;
        self.near.stop().await;
        self.far.stop().await;
    }
}

async fn run(client: &McpClient, code: &str) -> Result<Value> {
    client
        .structured("run_js_ephemeral", json!({"code": code, "runtime": "isolate"}))
        .await
}

async fn fleet(client: &McpClient) -> Result<Value> {
    client.structured("system.fleet", json!({})).await
}

/// The one executor as a replica sees it.
async fn only_executor(client: &McpClient) -> Result<Value> {
    let fleet = fleet(client).await?;
    ensure!(fleet["totals"]["executors"] == 1, "{fleet}");
    Ok(fleet["executors"][0].clone())
}

async fn executor_id(client: &McpClient) -> Result<String> {
    let id = only_executor(client).await?["id"].as_str().map(str::to_owned);
    id.context("an id")
}

async fn until_state(client: &McpClient, state: &str) -> Duration {
    eventually(SOON, async || {
        let executor = only_executor(client).await?;
        ensure!(executor["state"] == state, "{executor}");
        Ok(())
    })
    .await
}
