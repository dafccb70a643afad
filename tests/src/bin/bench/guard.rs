//! What the guard costs a call: the slot taken and given back, in this process and in a Redis on this machine.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_control_plane::guard::{
    Guard, GuardConfig, GuardLimits, Lease, MemoryGuard, OnStoreLoss, RedisGuard, RedisGuardConfig, Scope,
    Share,
};
use dynamic_mcp_control_plane::redis::{Redis, RedisConfig};
use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::load::Samples;
use crate::report::{Goal, Report};

const CALLS: usize = 2_000;
const CLIENTS: usize = 16;
const CONFIG: GuardConfig = GuardConfig {
    limits: GuardLimits {
        max_concurrency: 64,
        max_calls_per_window: 10_000_000,
        window_ms: 60_000,
    },
    queue_wait: Duration::from_secs(2),
    max_waiting: 1_024,
};
const SHARE: Share = Share {
    max_concurrency: 64,
    max_calls_per_window: None,
    weight: 1,
};

pub async fn measure(report: &mut Report) -> Result<()> {
    let memory: Arc<dyn Guard> = Arc::new(MemoryGuard::new(CONFIG));
    report.row("guard of one process, 1 client", &one_by_one(&memory).await?);

    let (_server, url) = start_redis().await?;
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let redis = connect(&url).await?;
    let config = RedisGuardConfig {
        guard: CONFIG,
        on_loss: OnStoreLoss::Closed,
        lease: Lease::default(),
    };
    let guard = RedisGuard::start(config, redis.clone(), ReplicaId::generate(), &lifecycle);
    let guard: Arc<dyn Guard> = Arc::new(guard);
    one_by_one(&guard).await?;
    let before = scripts_run(&redis).await?;
    let alone = one_by_one(&guard).await?;
    let each = (scripts_run(&redis).await? - before) as f64 / CALLS as f64;
    report.row("guard in Redis, 1 client", &alone);
    report.row("guard in Redis, 16 clients", &together(&guard).await?);
    // Renewals, which cost a call nothing of their own, are in it.
    report.goal(Goal::at_most("guard: round trips per call", each, 2.05));

    let refused = refusals(&redis, &lifecycle, report).await?;
    report.goal(Goal::at_most(
        "guard: round trips of a known refusal",
        refused,
        0.01,
    ));
    lifecycle.begin_shutdown();
    lifecycle.finish().await;
    Ok(())
}

/// As a call sees it: the slot is there, and is let go.
async fn one_by_one(guard: &Arc<dyn Guard>) -> Result<Samples> {
    let mut taken = Vec::with_capacity(CALLS);
    let started = Instant::now();
    for _ in 0..CALLS {
        let begun = Instant::now();
        drop(guard.acquire(&scope(), SHARE).await?);
        taken.push(begun.elapsed());
    }
    Ok(Samples::new(taken, started.elapsed()))
}

async fn together(guard: &Arc<dyn Guard>) -> Result<Samples> {
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for _ in 0..CLIENTS {
        let guard = guard.clone();
        clients.spawn(async move { one_by_one(&guard).await });
    }
    let mut all = Vec::new();
    for samples in clients.join_all().await {
        all.extend(samples?.into_taken());
    }
    Ok(Samples::new(all, started.elapsed()))
}

/// Round trips of each refusal after the first.
async fn refusals(redis: &Redis, lifecycle: &Lifecycle, report: &mut Report) -> Result<f64> {
    let limits = GuardLimits {
        max_calls_per_window: 1,
        ..CONFIG.limits
    };
    let config = RedisGuardConfig {
        guard: GuardConfig { limits, ..CONFIG },
        on_loss: OnStoreLoss::Closed,
        lease: Lease::default(),
    };
    let guard = RedisGuard::start(config, redis.clone(), ReplicaId::generate(), lifecycle);
    let limited = Scope {
        name: "refused".to_owned(),
        ..scope()
    };
    drop(guard.acquire(&limited, SHARE).await?);
    ensure!(guard.acquire(&limited, SHARE).await.is_err());
    let before = scripts_run(redis).await?;
    let mut taken = Vec::with_capacity(CALLS);
    let started = Instant::now();
    for _ in 0..CALLS {
        let begun = Instant::now();
        ensure!(guard.acquire(&limited, SHARE).await.is_err());
        taken.push(begun.elapsed());
    }
    report.row("a known refusal", &Samples::new(taken, started.elapsed()));
    Ok((scripts_run(redis).await? - before) as f64 / CALLS as f64)
}

fn scope() -> Scope {
    Scope {
        tenant: Default::default(),
        name: "dynamic.exec.bench".to_owned(),
    }
}

async fn scripts_run(redis: &Redis) -> Result<u64> {
    let info: String = redis.query(redis::cmd("INFO").arg("commandstats")).await?;
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    let calls = line
        .and_then(|line| line.split_once("calls="))
        .and_then(|(_, rest)| rest.split(',').next())
        .context("Redis counts its commands")?;
    Ok(calls.parse()?)
}

/// Of its own, so that nobody else's commands are counted.
async fn start_redis() -> Result<(Child, String)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server is there: scripts/services installs it")?;
    Ok((server, format!("redis://127.0.0.1:{port}/0")))
}

async fn connect(url: &str) -> Result<Redis> {
    let config = RedisConfig {
        url: url.into(),
        is_cluster: false,
        ca_file: None,
        prefix: "bench".to_owned(),
    };
    let redis = Redis::start(&config, Readiness::default()).await?;
    tokio::time::timeout(Duration::from_secs(10), redis.up().wait_for(|up| *up))
        .await
        .context("Redis is up")??;
    Ok(redis)
}
