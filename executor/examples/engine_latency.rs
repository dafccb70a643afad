//! What a call costs at the engine's seam, without gRPC and MCP: `cargo run --release -p dynamic-mcp-executor --example
//! engine_latency`. Beside it, in the same run, a bare loop of eight on the Engine's API: create, start, wait, remove.

#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bollard::models::{ContainerCreateBody, HostConfig};
use bytes::Bytes;
use dynamic_mcp_executor::docker::DockerEngine;
use dynamic_mcp_executor::docker::client::EngineClient;
use dynamic_mcp_executor::docker::config::{DockerConfig, PoolConfig};
use dynamic_mcp_executor::engine::Engine;
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Isolation, Job, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const IN_FLIGHT: usize = 8;
const SUSTAINED: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let bare = bare_loop().await?;

    let engine = start(
        &state,
        PoolConfig {
            floor: 4,
            ceiling: 16,
        },
    )
    .await?;
    let warm = spaced(&engine, job(Isolation::Call)?, 40, Duration::from_millis(600)).await?;
    report("call, warm", warm);
    let kept = spaced(&engine, job(Isolation::Tool)?, 1_000, Duration::ZERO).await?;
    report("tool, kept", kept);
    let rate = sustained(&engine, Isolation::Tool, 16, Duration::from_secs(5)).await?;
    println!("tool, 16 in flight: {rate:.0} calls/s");
    engine.shutdown().await;

    let engine = start(&state, PoolConfig { floor: 0, ceiling: 0 }).await?;
    let cold = spaced(&engine, job(Isolation::Call)?, 15, Duration::from_millis(300)).await?;
    report("call, cold", cold);
    engine.shutdown().await;

    let engine = start(
        &state,
        PoolConfig {
            floor: 4,
            ceiling: 16,
        },
    )
    .await?;
    // The first of these take what was made before the clock began.
    sustained(&engine, Isolation::Call, IN_FLIGHT, Duration::from_secs(5)).await?;
    let ours = sustained(&engine, Isolation::Call, IN_FLIGHT, SUSTAINED).await?;
    engine.shutdown().await;
    let bare_again = bare_loop().await?;
    let bare = f64::midpoint(bare, bare_again);
    println!(
        "call, 8 in flight: {ours:.2} calls/s; bare loop of 8: {bare:.2}/s; {:.0} %",
        100.0 * ours / bare
    );
    Ok(())
}

async fn start(state: &tempfile::TempDir, pool: PoolConfig) -> anyhow::Result<Arc<DockerEngine>> {
    let identity = Arc::new(Identity::claim(state.path())?);
    let config = DockerConfig {
        pool,
        ..DockerConfig::default()
    };
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let engine = DockerEngine::connect(config, identity, Arc::new(SystemClock), &lifecycle)?;
    for _ in 0..600 {
        let status = engine.status();
        if status
            .images
            .iter()
            .all(|image| image.present && image.warm >= pool.floor)
        {
            return Ok(engine);
        }
        sleep(Duration::from_millis(100)).await;
    }
    bail!("the engine did not get ready: {:?}", engine.status())
}

fn job(isolation: Isolation) -> anyhow::Result<Job> {
    Ok(Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: Some("bench".to_owned()),
        runtime: Runtime::Node,
        image: DEFAULT_IMAGE.to_owned(),
        isolation,
        content_hash: Some("0".repeat(64).try_into()?),
        revision: 1,
        code: Bytes::from_static(b"return { sum: args.a + args.b }"),
        dependency_lock: None,
        timeout: TimeoutMs::DEFAULT,
        max_output_bytes: 200_000,
        max_memory: None,
        session: None,
    })
}

async fn call(engine: &DockerEngine, job: Job) -> anyhow::Result<()> {
    let prepared = engine.prepare(job).await?;
    let (events, _nobody) = mpsc::channel(1);
    let args = Bytes::from_static(br#"{"a":1,"b":2}"#);
    let finished = prepared.run(args, events, CancellationToken::new()).await;
    if !finished.outcome.is_ok() {
        bail!("{:?} {:?}", finished.outcome, finished.error);
    }
    Ok(())
}

async fn spaced(
    engine: &DockerEngine,
    job: Job,
    calls: usize,
    pause: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        call(engine, job.clone()).await?;
        took.push(began.elapsed());
        sleep(pause).await;
    }
    Ok(took)
}

async fn sustained(
    engine: &DockerEngine,
    isolation: Isolation,
    at_once: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let job = job(isolation)?;
    let mut running = FuturesUnordered::new();
    for _ in 0..at_once {
        running.push(call(engine, job.clone()));
    }
    let mut done = 0_u32;
    while let Some(ended) = running.next().await {
        ended?;
        done += 1;
        if began.elapsed() < time {
            running.push(call(engine, job.clone()));
        }
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// Containers that do the same and end by themselves, as hardened as Docker makes it easy.
async fn bare_loop() -> anyhow::Result<f64> {
    let client = EngineClient::new(None)?;
    let began = Instant::now();
    let one = |n: usize| {
        let client = &client;
        async move {
            let body = ContainerCreateBody {
                image: Some(DEFAULT_IMAGE.to_owned()),
                cmd: Some(vec![
                    "node".to_owned(),
                    "-e".to_owned(),
                    "console.log(1+2)".to_owned(),
                ]),
                host_config: Some(HostConfig {
                    network_mode: Some("none".to_owned()),
                    readonly_rootfs: Some(true),
                    memory: Some(512 << 20),
                    nano_cpus: Some(1_000_000_000),
                    init: Some(true),
                    ..HostConfig::default()
                }),
                ..ContainerCreateBody::default()
            };
            let id = client.create(&format!("bare-loop-{n}"), body).await?;
            client.start(&id).await?;
            client.wait(&id, Duration::from_secs(30)).await?;
            client.remove(&id).await.context("remove")
        }
    };
    let (mut running, mut next, mut done) = (FuturesUnordered::new(), 0, 0_u32);
    for _ in 0..IN_FLIGHT {
        running.push(one(next));
        next += 1;
    }
    while let Some(ended) = running.next().await {
        ended?;
        done += 1;
        if began.elapsed() < SUSTAINED {
            running.push(one(next));
            next += 1;
        }
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:?}, p90 {:?}, p99 {:?} ({} calls)",
        at(50),
        at(90),
        at(99),
        took.len()
    );
}
