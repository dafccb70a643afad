//! Calls that go on while something is replaced beneath them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::ControlPlane;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Quick calls and such as are in flight for a second, one after the other, until it is stopped.
pub struct Load {
    callers: JoinSet<Result<()>>,
    done: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Load {
    pub async fn start(control: &ControlPlane) -> Result<Self> {
        let client = Arc::new(control.client(Era::Modern).await?);
        client.create_tool("quick", "return args.n;", json!({})).await?;
        let slow = "await new Promise((done) => setTimeout(done, 1000)); return args.n;";
        client.create_tool("slow", slow, json!({})).await?;
        let mut load = Self {
            callers: JoinSet::new(),
            done: Arc::default(),
            stop: CancellationToken::new(),
        };
        for tool in ["quick", "slow", "slow"] {
            let caller = call_on(client.clone(), tool, load.done.clone(), load.stop.clone());
            load.callers.spawn(caller);
        }
        Ok(load)
    }

    /// # Errors
    /// When a single call of all did not go well.
    pub async fn stop(mut self) -> Result<usize> {
        self.stop.cancel();
        while let Some(caller) = self.callers.join_next().await {
            caller??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

async fn call_on(
    client: Arc<McpClient>,
    tool: &'static str,
    done: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Result<()> {
    let mut n = 0;
    while !stop.is_cancelled() {
        n += 1;
        let answer = client.structured(tool, json!({"args": {"n": n}})).await?;
        ensure!(
            answer["outcome"] == "ok" && answer["result"] == n,
            "{tool} {n}: {answer}"
        );
        done.fetch_add(1, Ordering::Relaxed);
        // Under the limit of calls of one tool in a minute.
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    Ok(())
}
