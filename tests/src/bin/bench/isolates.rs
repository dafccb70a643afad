//! Runtime "isolate" over the whole path: as two processes, as one, and what it takes of memory.

use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::server::{AllInOne, ControlPlane, Executor};
use futures::future::try_join_all;
use serde_json::json;

use crate::load::{self, Samples};
use crate::report::{Goal, Report};
use crate::seam::Seam;
use crate::wire::Connection;
use crate::{CODE, LIMITS, call, memory};

const TIME: Duration = Duration::from_secs(8);
const CLIENTS: [usize; 4] = [1, 4, 16, 64];
const RUNNING: usize = 64;
const ENGINE: [(&str, &str); 2] = [("MCP_EXECUTION_ENGINE", "isolate"), ("MCP_SANDBOX_SLOTS", "64")];

pub async fn measure(report: &mut Report) -> Result<()> {
    seam(report).await?;
    two_processes(report).await?;
    one_process(report).await
}

async fn seam(report: &mut Report) -> Result<()> {
    let seam = Seam::start().await?;
    let mut measured = Vec::new();
    for clients in CLIENTS {
        let samples = seam.together(clients, TIME).await?;
        report.row(&format!("isolate, executor's side, {clients} at once"), &samples);
        measured.push(samples);
    }
    report.goal(Goal::at_most(
        "isolate, first zygote ready, ms",
        millis(seam.ready_after),
        60.0,
    ));
    seam.stop().await;
    report.goal(Goal::at_most(
        "isolate, executor's side, p50, ms",
        millis(measured[0].p50()),
        0.7,
    ));
    let most = measured.iter().map(Samples::per_second).fold(0.0, f64::max);
    report.goal(Goal::at_least("isolate, executor's side, calls/s", most, 2_500.0));
    Ok(())
}

async fn two_processes(report: &mut Report) -> Result<()> {
    let control = ControlPlane::start(&LIMITS).await?;
    let executor = Executor::start(&control, &ENGINE).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client
        .create_tool("bench.isolate", CODE, json!({"runtime": "isolate"}))
        .await?;
    let idle = memory::of_tree(executor.process.pid())?;
    for clients in CLIENTS {
        let samples = load::together(&control.base_url, &call("bench.isolate"), clients, TIME).await?;
        report.row(&format!("isolate, two processes, {clients} clients"), &samples);
    }

    let waits = "await new Promise((resolve) => setTimeout(resolve, 5_000)); return 1;";
    client
        .create_tool("bench.waits", waits, json!({"runtime": "isolate"}))
        .await?;
    let before = memory::of_tree(executor.process.pid())?;
    let request = call("bench.waits");
    let running = try_join_all(
        (0..RUNNING).map(async |_| Connection::open(&control.base_url).await?.call(&request).await),
    );
    let sampled = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        memory::of_tree(executor.process.pid())
    };
    let (_, during) = tokio::try_join!(running, sampled)?;
    report.goal(Goal::at_most(
        "isolate, memory of a running trivial call, MB",
        (during - before) / RUNNING as f64,
        1.0,
    ));
    report.goal(Goal::at_most(
        "isolate, idle executor with its zygote, MB",
        idle,
        40.0,
    ));
    executor.stop().await;
    control.stop().await;
    Ok(())
}

async fn one_process(report: &mut Report) -> Result<()> {
    let settings: Vec<_> = LIMITS.into_iter().chain(ENGINE).collect();
    let server = AllInOne::start(&settings).await?;
    let client = server.client(Era::Modern).await?;
    client
        .create_tool("bench.isolate", CODE, json!({"runtime": "isolate"}))
        .await?;
    let mut measured = Vec::new();
    for clients in CLIENTS {
        let samples = load::together(&server.base_url, &call("bench.isolate"), clients, TIME).await?;
        report.row(&format!("isolate, one process, {clients} clients"), &samples);
        measured.push((clients, samples));
    }
    let with = |wanted| {
        measured
            .iter()
            .find(|(clients, _)| *clients == wanted)
            .context("that many clients")
    };
    report.goal(Goal::at_most(
        "isolate, whole path, p50, ms",
        millis(with(1)?.1.p50()),
        1.5,
    ));
    report.goal(Goal::at_least(
        "isolate, whole path with 16 clients, calls/s",
        with(16)?.1.per_second(),
        1_500.0,
    ));
    server.stop().await;
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
