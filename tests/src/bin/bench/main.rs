//! Measures the whole path of a call in one run on one machine: client → HTTP → control plane → gRPC → executor →
//! container or isolate, beside the Engine's own ways to run the same code. Prints a table and each goal with met or missed.
//!
//! `cargo run --release -p dynamic-mcp-tests --bin bench` (after `cargo build --release --workspace --bins`);
//! `bench isolates`, `bench session`, `bench tokens`, `bench registry`, `bench audit`, `bench fleet`, `bench guard` and
//! `bench placement` measure these alone.

#![expect(clippy::print_stdout, reason = "its output is the table")]

mod audit;
mod engine;
mod fleet;
mod guard;
mod isolates;
mod load;
mod memory;
mod placement;
mod registry;
mod report;
mod seam;
mod session;
mod tokens;
mod wire;

use std::time::Duration;

use anyhow::{Result, bail};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::database::Schema;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use serde_json::json;

use crate::load::Samples;
use crate::report::{Goal, Report};
use crate::wire::Connection;

/// The same in every row: reads an argument, does a little, answers JSON.
const CODE: &str = "return { upper: String(args.text).toUpperCase() };";
const CLIENTS: usize = 16;
const ENGINE_LOOP: usize = 8;

/// High enough that no limit is what is measured.
const LIMITS: [(&str, &str); 2] = [
    ("MCP_TOOL_MAX_CONCURRENCY", "64"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
];

fn main() -> Result<()> {
    // The isolates at the executor's seam are this program's own.
    dynamic_mcp_executor::isolate::enter();
    measure()
}

#[tokio::main]
async fn measure() -> Result<()> {
    let mut report = Report::default();
    match std::env::args().nth(1).as_deref() {
        None => {
            // Said before everything else is measured, not after.
            let schema = Schema::new()?;
            measure_containers(&mut report).await?;
            session::measure(&mut report).await?;
            isolates::measure(&mut report).await?;
            tokens::measure(&mut report).await?;
            registry::measure(schema, &mut report).await?;
            audit::measure(&mut report).await?;
            fleet::measure(&mut report).await?;
            guard::measure(&mut report).await?;
            placement::measure(&mut report);
        }
        Some("isolates") => isolates::measure(&mut report).await?,
        Some("session") => session::measure(&mut report).await?,
        Some("tokens") => tokens::measure(&mut report).await?,
        Some("registry") => registry::measure(Schema::new()?, &mut report).await?,
        Some("audit") => audit::measure(&mut report).await?,
        Some("fleet") => fleet::measure(&mut report).await?,
        Some("guard") => guard::measure(&mut report).await?,
        Some("placement") => placement::measure(&mut report),
        Some(other) => {
            bail!(
                "unknown part {other:?}; there are isolates, session, tokens, registry, audit, fleet, guard and placement, and all \
                 without a word"
            )
        }
    }
    println!("{report}");
    Ok(())
}

async fn measure_containers(report: &mut Report) -> Result<()> {
    engine::warm_up().await?;
    let docker_run = engine::docker_run(12).await?;
    report.row("`docker run` (hardened, cold)", &docker_run);
    report.row(
        "`docker exec` in a running container",
        &engine::docker_exec(20).await?,
    );
    let bare = engine::bare_loop(ENGINE_LOOP, Duration::from_secs(15)).await?;
    report.row("bare Engine API loop, 8 at once", &bare);
    measure_cold(report).await?;
    measure_product(report, &docker_run, &bare).await
}

/// Without a pool every call makes its own container.
async fn measure_cold(report: &mut Report) -> Result<()> {
    let control = ControlPlane::start(&LIMITS).await?;
    let executor = Executor::start(
        &control,
        &[("MCP_SANDBOX_POOL_MIN", "0"), ("MCP_SANDBOX_POOL_MAX", "0")],
    )
    .await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client
        .create_tool("bench.call", CODE, json!({"runtime": "node"}))
        .await?;
    let mut connection = Connection::open(&control.base_url).await?;
    let samples = load::one_by_one(&mut connection, &call("bench.call"), 15, Duration::ZERO).await?;
    report.row("`isolation: call`, cold, 1 client", &samples);
    executor.stop().await;
    control.stop().await;
    Ok(())
}

async fn measure_product(report: &mut Report, docker_run: &Samples, bare: &Samples) -> Result<()> {
    let control = ControlPlane::start(&LIMITS).await?;
    let executor = Executor::start(&control, &[("MCP_SANDBOX_SLOTS", "64")]).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client
        .create_tool("bench.call", CODE, json!({"runtime": "node"}))
        .await?;
    client
        .create_tool(
            "bench.tool",
            CODE,
            json!({"runtime": "node", "isolation": "tool"}),
        )
        .await?;
    let mut connection = Connection::open(&control.base_url).await?;

    tokio::time::sleep(Duration::from_secs(5)).await;
    let warm = load::one_by_one(
        &mut connection,
        &call("bench.call"),
        40,
        Duration::from_millis(600),
    )
    .await?;
    report.row("`isolation: call`, warm, 1 client, spaced", &warm);
    let sustained = load::together(
        &control.base_url,
        &call("bench.call"),
        ENGINE_LOOP,
        Duration::from_secs(20),
    )
    .await?;
    report.row("`isolation: call`, 8 clients, sustained", &sustained);

    settle(&client, "bench.tool").await?;
    let kept = load::one_by_one(&mut connection, &call("bench.tool"), 1_000, Duration::ZERO).await?;
    report.row("`isolation: tool`, 1 client", &kept);
    let kept_16 = load::together(
        &control.base_url,
        &call("bench.tool"),
        CLIENTS,
        Duration::from_secs(10),
    )
    .await?;
    report.row("`isolation: tool`, 16 clients", &kept_16);

    let builtin = wire::request(
        "tools/call",
        &json!({"name": "system.health", "arguments": {}}),
        "system.health",
    );
    let health = load::one_by_one(&mut connection, &builtin, 2_000, Duration::ZERO).await?;
    report.row("built-in `system.health`, 1 client", &health);
    let health_16 = load::together(&control.base_url, &builtin, CLIENTS, Duration::from_secs(8)).await?;
    report.row("built-in `system.health`, 16 clients", &health_16);

    let control_mb = memory::resident(control.process.pid())?;
    let executor_mb = memory::resident(executor.process.pid())?;
    let ratio = docker_run.p50().as_secs_f64() / warm.p50().as_secs_f64();
    for goal in [
        Goal::at_most("warm `call` p50, ms", warm.p50().as_secs_f64() * 1e3, 5.0),
        Goal::at_least("warm `call` against `docker run`, times faster", ratio, 40.0),
        Goal::at_least(
            "sustained `call` against the bare Engine loop",
            sustained.per_second() / bare.per_second(),
            0.9,
        ),
        Goal::at_most("`tool` p50, ms", kept.p50().as_secs_f64() * 1e3, 2.0),
        Goal::at_least("`tool` with 16 clients, calls/s", kept_16.per_second(), 1_500.0),
        Goal::at_least(
            "built-in with 16 clients, calls/s",
            health_16.per_second(),
            8_000.0,
        ),
        Goal::at_most("control plane resident, MB", control_mb, 60.0),
        Goal::at_most("executor resident, MB", executor_mb, 40.0),
    ] {
        report.goal(goal);
    }
    executor.stop().await;
    control.stop().await;
    Ok(())
}

/// Calls until as many containers are kept as there are clients, and waits until the pool has replaced them: making
/// containers takes both cores, and is measured in the rows before.
async fn settle(client: &McpClient, tool: &str) -> Result<()> {
    let calls = (0..CLIENTS).map(|_| client.structured(tool, json!({"args": {"text": "hello"}})));
    for result in futures::future::join_all(calls).await {
        result?;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    Ok(())
}

fn call(tool: &str) -> Vec<u8> {
    let params = json!({"name": tool, "arguments": {"args": {"text": "hello"}}});
    wire::request("tools/call", &params, tool)
}
