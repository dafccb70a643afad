//! Kill -9 of each process between a call's code and its client, where the code runs in an isolate.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::processes::{Seen, children_of, descendants_of};
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use serde_json::{Value, json};

use super::{FOR_EVER, SOON, until_active};

struct Scene {
    control: ControlPlane,
    executor: Executor,
    client: McpClient,
}

impl Scene {
    async fn start() -> Result<Self> {
        let control = ControlPlane::start(On::Isolate.settings()).await?;
        let executor = Executor::start(&control, On::Isolate.settings()).await?;
        control.ready().await?;
        let client = control.client(Era::Modern).await?;
        client.create_tool("endless", FOR_EVER, json!({})).await?;
        client.create_tool("quick", "return args.n;", json!({})).await?;
        Ok(Self {
            control,
            executor,
            client,
        })
    }

    fn family(&self) -> Vec<Seen> {
        descendants_of(self.executor.process.pid())
    }

    async fn endless(&self) -> Result<Running> {
        Running::start(&self.client, "endless", json!({})).await
    }

    async fn assert_serves(&self) -> Result<()> {
        let answer = self.client.structured("quick", json!({"args": {"n": 7}})).await?;
        ensure!(answer["result"] == 7, "{answer}");
        Ok(())
    }

    async fn stop(self) {
        self.executor.stop().await;
        self.control.stop().await;
    }
}

fn kill(process: &Seen) -> Result<()> {
    let pid = process.pid.to_string();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status()?;
    ensure!(killed.success(), "kill -KILL {process:?}");
    Ok(())
}

async fn until_gone(family: &[Seen]) -> Duration {
    eventually(Duration::from_secs(5), async || {
        let left: Vec<_> = family.iter().filter(|process| process.is_alive()).collect();
        ensure!(left.is_empty(), "alive are {left:?}");
        Ok(())
    })
    .await
}

async fn interrupted(call: Running) -> Result<Value> {
    let killed = Instant::now();
    let ended = call.structured().await?;
    measured(format!(
        "interrupted {:?} after the kill: {}",
        killed.elapsed(),
        ended["error"]
    ));
    ensure!(ended["outcome"] == "interrupted", "{ended}");
    ensure!(
        killed.elapsed() < Duration::from_secs(10),
        "told only after {:?}",
        killed.elapsed()
    );
    Ok(ended)
}

#[tokio::test]
async fn a_killed_zygote_interrupts_its_calls_and_the_next_call_has_another_one() -> Result<()> {
    let scene = Scene::start().await?;
    let keepers = children_of(scene.executor.process.pid());
    let zygotes = children_of(keepers.first().context("a process that keeps the zygote")?.pid);
    for doomed in [zygotes.first().context("a zygote")?] {
        let (family, call) = (scene.family(), scene.endless().await?);
        kill(doomed)?;
        interrupted(call).await?;
        scene.assert_serves().await?;
        until_gone(&family).await;
    }
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_killed_executor_interrupts_its_calls_and_leaves_no_process() -> Result<()> {
    let scene = Scene::start().await?;
    let call = scene.endless().await?;
    let family = scene.family();
    let state = scene.executor.kill().await;
    interrupted(call).await?;
    let took = until_gone(&family).await;
    measured(format!(
        "{} processes were gone {took:?} after that",
        family.len()
    ));
    until_active(&scene.client, 0, SOON).await;

    let executor = Executor::start_in(state, &scene.control, On::Isolate.settings()).await?;
    let scene = Scene { executor, ..scene };
    scene.assert_serves().await?;
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_killed_control_plane_ends_its_calls_and_the_executor_serves_the_next_one() -> Result<()> {
    let scene = Scene::start().await?;
    let bind = scene
        .control
        .fleet_url
        .strip_prefix("http://")
        .context("an address")?
        .to_owned();
    let idle = scene.family().len();
    let call = scene.endless().await?;
    let state = scene.control.kill().await;
    ensure!(
        call.result().await.is_err(),
        "somebody answered for a dead server"
    );
    let executor = &scene.executor;
    let took = eventually(SOON, async || {
        let now = descendants_of(executor.process.pid());
        ensure!(now.len() <= idle, "{now:?} are more than {idle}");
        Ok(())
    })
    .await;
    measured(format!("the isolate was gone {took:?} after the kill"));

    let settings = [&[("MCP_FLEET_BIND", bind.as_str())], On::Isolate.settings()].concat();
    let control = ControlPlane::start_in(state, &settings).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    let scene = Scene {
        control,
        client,
        executor: scene.executor,
    };
    scene.assert_serves().await?;
    scene.stop().await;
    Ok(())
}
