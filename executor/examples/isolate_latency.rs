//! What a call of an isolate costs at the engine's seam, without gRPC and MCP: `cargo run --release -p
//! dynamic-mcp-executor --example isolate_latency [seconds]`.

#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use dynamic_mcp_executor::engine::Engine;
use dynamic_mcp_executor::isolate::{IsolateConfig, IsolateEngine};
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Isolation, Job, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn main() -> anyhow::Result<()> {
    dynamic_mcp_executor::isolate::enter();
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    measure(Duration::from_secs(seconds))
}

#[tokio::main]
async fn measure(time: Duration) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let began = Instant::now();
    let engine = IsolateEngine::start(IsolateConfig::default(), &lifecycle).await?;
    println!("tier {:?}, ready after {:?}", engine.tier(), began.elapsed());
    for found in engine.walls() {
        println!(
            "  {}: {}",
            found.wall,
            found.lacking.as_deref().unwrap_or("holds")
        );
    }
    for isolation in [Isolation::Call, Isolation::Tool] {
        for clients in [1, 4, 16, 64] {
            report(
                isolation,
                clients,
                sustained(&engine, isolation, clients, time).await?,
                time,
            );
        }
    }
    engine.shutdown().await;
    Ok(())
}

fn job(isolation: Isolation) -> anyhow::Result<Job> {
    Ok(Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: Some("bench".to_owned()),
        runtime: Runtime::Isolate,
        image: String::new(),
        isolation,
        content_hash: Some("0".repeat(64).try_into()?),
        revision: 1,
        code: Bytes::from_static(b"return { sum: args.a + args.b }"),
        dependency_lock: None,
        timeout: TimeoutMs::DEFAULT,
        max_output_bytes: 200_000,
    })
}

async fn call(engine: &IsolateEngine, job: Job) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let prepared = engine.prepare(job).await?;
    let (progress, _nobody) = mpsc::channel(1);
    let args = Bytes::from_static(br#"{"a":1,"b":2}"#);
    let finished = prepared.run(args, progress, CancellationToken::new()).await;
    if !finished.outcome.is_ok() {
        bail!("{:?} {:?}", finished.outcome, finished.error);
    }
    Ok(began.elapsed())
}

async fn sustained(
    engine: &Arc<IsolateEngine>,
    isolation: Isolation,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let began = Instant::now();
    let job = job(isolation)?;
    let mut running = FuturesUnordered::new();
    for _ in 0..clients {
        running.push(call(engine, job.clone()));
    }
    let mut took = Vec::new();
    while let Some(ended) = running.next().await {
        took.push(ended?);
        if began.elapsed() < time {
            running.push(call(engine, job.clone()));
        }
    }
    Ok(took)
}

fn report(isolation: Isolation, clients: usize, mut took: Vec<Duration>, time: Duration) {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "isolation {}, {clients} at once: p50 {:?}, p99 {:?}, {:.0} calls/s",
        isolation.as_str(),
        at(50),
        at(99),
        took.len() as f64 / time.as_secs_f64()
    );
}
