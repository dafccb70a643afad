//! Nothing leaks: what is there after thousands of calls is what was there after the first few.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::docker::{containers_of, volumes_with};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::processes::descendants_of;
use dynamic_mcp_tests::resources::Resources;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use futures::future::try_join_all;
use serde_json::json;

const IN_A_ROW: u64 = 2_000;
const AT_ONCE: u64 = 200;
/// Each costs the Engine a container, of which it makes about seven a second.
const FRESH: u64 = 60;
/// After a warm-up; allocators keep some of what they once had.
const GROWTH: u64 = 20 << 20;
/// Connections and tasks that a quiet server still winds up.
const SLACK: u64 = 4;
const QUIET: Duration = Duration::from_secs(30);

const POOL: usize = 4;
/// What keeps the zygote, the zygote, and three isolates that wait.
const FAMILY: usize = 5;
const SETTINGS: [(&str, &str); 2] = [
    ("MCP_TOOL_MAX_CONCURRENCY", "256"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
];
const EXECUTOR: [(&str, &str); 4] = [
    ("MCP_SANDBOX_POOL_MIN", "4"),
    ("MCP_SANDBOX_POOL_MAX", "4"),
    ("MCP_SANDBOX_SLOTS", "256"),
    // So that in the end only the pool is left: how many are kept depends on how many calls met.
    ("MCP_SANDBOX_KEPT_IDLE_SECONDS", "3"),
];

struct Scene {
    on: On,
    control: ControlPlane,
    executor: Executor,
    id: String,
    client: McpClient,
}

/// What is there when nothing runs.
#[derive(Debug)]
struct Census {
    control: Resources,
    executor: Resources,
    volumes: usize,
}

impl Scene {
    async fn start(on: On) -> Result<Self> {
        let control = ControlPlane::start(&[&SETTINGS, on.settings()].concat()).await?;
        let executor = Executor::start(&control, &[&EXECUTOR, on.settings()].concat()).await?;
        control.ready().await?;
        let client = control.client(Era::Modern).await?;
        let kept = json!({"isolation": "tool", "timeoutMs": 60_000});
        client.create_tool("kept", "return args.n + 1;", kept).await?;
        client
            .create_tool("fresh", "return args.n + 1;", json!({"timeoutMs": 60_000}))
            .await?;
        client
            .create_tool(
                "thrower",
                "throw new Error(String(args.n));",
                json!({"isolation": "tool"}),
            )
            .await?;
        Ok(Self {
            on,
            id: executor.state().executor()?,
            control,
            executor,
            client,
        })
    }

    async fn call(&self, tool: &str, n: u64) -> Result<()> {
        let answer = self.client.structured(tool, json!({"args": {"n": n}})).await?;
        ensure!(answer["result"] == n + 1, "{tool} {n}: {answer}");
        Ok(())
    }

    async fn in_a_row(&self, tool: &str, count: u64) -> Result<()> {
        let began = Instant::now();
        for n in 0..count {
            self.call(tool, n).await?;
        }
        measured(format!("{count} calls of {tool} in a row: {:?}", began.elapsed()));
        Ok(())
    }

    async fn at_once(&self, tool: &str, count: u64) -> Result<()> {
        let began = Instant::now();
        try_join_all((0..count).map(|n| self.call(tool, n))).await?;
        measured(format!("{count} calls of {tool} at once: {:?}", began.elapsed()));
        Ok(())
    }

    /// The same mix each time, so that what comes after the warm-up needs nothing new.
    async fn every_kind(&self) -> Result<()> {
        self.in_a_row("kept", 50).await?;
        self.at_once("kept", AT_ONCE).await?;
        self.at_once("fresh", 8).await?;
        let thrown = self.client.call("thrower", json!({"args": {"n": 1}})).await?;
        ensure!(thrown["structuredContent"]["outcome"] == "threw", "{thrown}");
        Ok(())
    }

    /// When it has grown quiet: only the pool is there.
    async fn census(&self) -> Result<Census> {
        eventually(QUIET, async || {
            let metrics = self.client.structured("system.guard_metrics", json!({})).await?;
            ensure!(metrics["activeExecutions"] == 0, "{metrics}");
            let (waiting, expected) = match self.on {
                On::Docker => (containers_of(&self.id).await?.len(), POOL),
                On::Isolate => (descendants_of(self.executor.process.pid()).len(), FAMILY),
            };
            ensure!(
                waiting == expected,
                "{waiting} sandboxes are there, not {expected}"
            );
            Ok(())
        })
        .await;
        Ok(Census {
            control: Resources::of(self.control.process.pid())?,
            executor: Resources::of(self.executor.process.pid())?,
            volumes: volumes_with(&format!("executor={}", self.id)).await?.len(),
        })
    }
}

fn assert_no_leak(process: &str, before: &Resources, after: &Resources) {
    measured(format!("{process}: {before:?} before, {after:?} after"));
    assert!(
        after.descriptors <= before.descriptors + SLACK,
        "{process} leaks file descriptors: {before:?}, {after:?}"
    );
    assert!(
        after.threads <= before.threads + SLACK,
        "{process} leaks threads: {before:?}, {after:?}"
    );
    assert!(
        after.children <= before.children,
        "{process} leaks processes: {before:?}, {after:?}"
    );
    assert!(
        after.resident_bytes <= before.resident_bytes + GROWTH,
        "{process} leaks memory: {before:?}, {after:?}"
    );
}

dynamic_mcp_tests::on_every_engine![two_thousand_calls_in_a_row_and_two_hundred_at_once_leave_nothing];

async fn two_thousand_calls_in_a_row_and_two_hundred_at_once_leave_nothing(on: On) -> Result<()> {
    let scene = Scene::start(on).await?;
    scene.every_kind().await?;
    let before = scene.census().await?;

    scene.in_a_row("kept", IN_A_ROW).await?;
    scene.at_once("kept", AT_ONCE).await?;
    scene.at_once("fresh", FRESH).await?;
    scene.every_kind().await?;

    let after = scene.census().await?;
    assert_no_leak("control plane", &before.control, &after.control);
    assert_no_leak("executor", &before.executor, &after.executor);
    assert_eq!(after.volumes, before.volumes, "volumes");
    scene.executor.stop().await;
    scene.control.stop().await;
    assert!(containers_of(&scene.id).await?.is_empty());
    Ok(())
}
