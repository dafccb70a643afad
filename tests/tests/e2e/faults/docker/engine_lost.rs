//! An Engine that hangs, and one that is gone: the server says so, its calls end, and it recovers by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::docker::containers_of;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::proxy::Proxy;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

use crate::faults::{FOR_EVER, active, until_left, until_readyz};

/// Two slow looks make a hang; a call waits for a node to be ready for 10 s.
const BOUND: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(30);
const POOL: usize = 2;

struct Scene {
    engine: Proxy,
    server: AllInOne,
    client: McpClient,
}

impl Scene {
    async fn start() -> Result<Self> {
        let engine = Proxy::before_the_engine()?;
        let server =
            AllInOne::start(&[&[("DOCKER_HOST", engine.address())], On::Docker.settings()].concat()).await?;
        let client = server.client(Era::Modern).await?;
        client.create_tool("quick", "return 1;", json!({})).await?;
        client
            .create_tool("endless", FOR_EVER, json!({"timeoutMs": 120_000}))
            .await?;
        Ok(Self {
            engine,
            server,
            client,
        })
    }

    /// Takes the Engine away under a running call.
    async fn lose_it(&self, how: impl FnOnce(&Proxy)) -> Result<()> {
        let call = Running::start(&self.client, "endless", json!({})).await?;
        let lost = Instant::now();
        how(&self.engine);
        let (ended, degraded) = tokio::join!(
            call.structured(),
            until_readyz(&self.server.base_url, "degraded", Some("executors"), BOUND)
        );
        let ended = ended?;
        measured(format!(
            "/readyz said so after {degraded:?}; the running call ended after {:?}",
            lost.elapsed()
        ));
        assert_eq!(ended["outcome"], "interrupted", "{ended}");
        assert!(lost.elapsed() < BOUND);

        let asked = Instant::now();
        let refused = self.client.call("quick", json!({})).await?["structuredContent"].clone();
        measured(format!(
            "a new call was refused within {:?}: {}",
            asked.elapsed(),
            refused["error"]
        ));
        assert_eq!(refused["outcome"], "never_started", "{refused}");
        assert!(asked.elapsed() < BOUND);
        assert_eq!(active(&self.client).await?, 0);
        // What needs no Engine goes on.
        assert!(self.client.tool_names().await?.contains(&"quick".to_owned()));
        Ok(())
    }

    async fn get_it_back(self) -> Result<()> {
        self.engine.flow();
        let took = until_readyz(&self.server.base_url, "ready", None, RECOVERY).await;
        measured(format!("ready again after {took:?}"));
        assert_eq!(self.client.structured("quick", json!({})).await?["result"], 1);
        let id = self.server.state().executor()?;
        let took = until_left(&id, POOL, RECOVERY).await;
        measured(format!("what had been left was gone {took:?} later"));
        self.server.stop().await;
        assert!(containers_of(&id).await?.is_empty());
        Ok(())
    }
}

#[tokio::test]
async fn an_engine_that_hangs_ends_calls_and_is_taken_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.lose_it(Proxy::stall).await?;
    scene.get_it_back().await
}

#[tokio::test]
async fn an_engine_that_is_gone_ends_calls_and_is_taken_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.lose_it(Proxy::cut).await?;
    scene.get_it_back().await
}

/// The time-out is kept without the Engine's help.
#[tokio::test]
async fn a_call_ends_at_its_timeout_while_the_engine_hangs() -> Result<()> {
    let scene = Scene::start().await?;
    let brief = json!({"timeoutMs": 2_000});
    scene.client.create_tool("brief", FOR_EVER, brief).await?;
    let call = Running::start(&scene.client, "brief", json!({})).await?;
    let began = Instant::now();
    scene.engine.stall();
    let ended = call.structured().await?;
    measured(format!(
        "ended {:?} after the Engine began to hang",
        began.elapsed()
    ));
    assert_eq!(ended["outcome"], "timed_out", "{ended}");
    assert!(began.elapsed() < Duration::from_secs(7));
    scene.get_it_back().await
}
