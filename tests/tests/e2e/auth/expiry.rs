//! Nothing goes on for longer than the token that it was begun with.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::now;
use dynamic_mcp_tests::running::Running;
use serde_json::json;

use super::Scene;

const LEEWAY: (&str, &str) = ("MCP_AUTH_LEEWAY_SECONDS", "0");
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_stream_ends_with_its_token() -> Result<()> {
    let scene = Scene::start_with(&[LEEWAY]).await?;
    for era in Era::ALL {
        let client = scene.client(era, json!({"exp": now() + 3})).await?;
        let mut stream = match era {
            Era::Legacy => client.notifications().await?,
            Era::Modern => client.listen().await?,
        };
        let opened = Instant::now();
        while let Ok(Some(_)) = stream.next().await {}
        assert!(opened.elapsed() < BOUND, "{era:?}");
        let refused = client.send(&client.request("tools/list", json!({}))).await?;
        assert_eq!(refused.status(), 401, "{era:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_long_call_ends_with_its_token() -> Result<()> {
    let scene = Scene::start_with(&[LEEWAY]).await?;
    let author = scene.client(Era::Modern, json!({})).await?;
    let code = "ctx.progress(1); await new Promise((resolve) => setTimeout(resolve, 60_000))";
    author
        .create_tool("long", code, json!({"timeoutMs": 100_000}))
        .await?;
    for era in Era::ALL {
        let client = scene.client(era, json!({"exp": now() + 4})).await?;
        let _call = Running::start(&client, "long", json!({})).await?;
        eventually(BOUND, async || {
            let metrics = author.structured("system.guard_metrics", json!({})).await?;
            anyhow::ensure!(metrics["activeExecutions"] == 0, "{era:?}: {metrics}");
            Ok(())
        })
        .await;
    }
    Ok(())
}
