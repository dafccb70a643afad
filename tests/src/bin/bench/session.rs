//! A command in a sandbox session that is open, at the executor's own seam and in this process, against `docker exec` of
//! the same command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use dynamic_mcp_executor::docker::DockerEngine;
use dynamic_mcp_executor::docker::config::{DockerConfig, PoolConfig};
use dynamic_mcp_executor::engine::Engine;
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_executor::sandbox::{OpenSession, SandboxLimits, Sandboxes};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::{JobId, SandboxId, TenantId};
use dynamic_mcp_shared::job::{Isolation, Job, Runtime, SandboxSession, SessionTask, SessionWork};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine;
use crate::load::Samples;
use crate::report::{Goal, Report};

const COMMANDS: usize = 200;
const WARM_UP: usize = 20;
const EXECS: usize = 20;
/// For the engine to find the image.
const READY: Duration = Duration::from_secs(60);

pub async fn measure(report: &mut Report) -> Result<()> {
    let exec = engine::docker_exec_of(EXECS, &["true"]).await?;
    report.row("`docker exec` of `true`", &exec);
    let open = Open::start().await?;
    for _ in 0..WARM_UP {
        open.run_true().await?;
    }
    let (began, mut taken) = (Instant::now(), Vec::new());
    for _ in 0..COMMANDS {
        let one = Instant::now();
        open.run_true().await?;
        taken.push(one.elapsed());
    }
    let commands = Samples::new(taken, began.elapsed());
    report.row("`true` in a sandbox session, executor's side", &commands);
    let opened_ms = open.opened_after.as_secs_f64() * 1e3;
    open.stop().await;
    let p50 = commands.p50().as_secs_f64() * 1e3;
    for goal in [
        Goal::at_most("`true` in a sandbox session, p50, ms", p50, 8.0),
        Goal::at_least(
            "`true` in a sandbox session against `docker exec`, times faster",
            exec.p50().as_secs_f64() * 1e3 / p50,
            4.0,
        ),
        Goal::at_most("a sandbox session opened, ms", opened_ms, 1_000.0),
    ] {
        report.goal(goal);
    }
    Ok(())
}

struct Open {
    engine: Arc<DockerEngine>,
    sandboxes: Sandboxes,
    session: SandboxSession,
    epoch: u64,
    opened_after: Duration,
    _state: tempfile::TempDir,
}

impl Open {
    async fn start() -> Result<Self> {
        let state = tempfile::tempdir()?;
        let identity = Arc::new(Identity::claim(state.path())?);
        let epoch = identity.epoch;
        let config = DockerConfig {
            pool: PoolConfig { floor: 0, ceiling: 0 },
            ..DockerConfig::default()
        };
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let engine = DockerEngine::connect(config, identity, Arc::new(SystemClock), &lifecycle)?;
        let found = async {
            while !engine.status().images.iter().any(|image| image.present) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(READY, found).await.context("the sandbox image")?;
        let shared: Arc<dyn Engine> = Arc::clone(&engine) as _;
        let sandboxes = Sandboxes::new(shared, Arc::new(SystemClock), epoch, SandboxLimits::default());
        let began = Instant::now();
        let session = sandboxes.open(wanted()).await?;
        Ok(Self {
            engine,
            sandboxes,
            session,
            epoch,
            opened_after: began.elapsed(),
            _state: state,
        })
    }

    async fn run_true(&self) -> Result<()> {
        let prepared = self.sandboxes.prepare(self.job()).await?;
        let (events, _nobody) = mpsc::channel(1);
        let args = Bytes::from_static(b"{}");
        let finished = prepared.run(args, events, CancellationToken::new()).await;
        let result = finished.result.clone().ok_or_else(|| anyhow!("{finished:?}"))?;
        if !String::from_utf8_lossy(&result).contains(r#""exitCode":0"#) {
            bail!("`true` did not go well");
        }
        Ok(())
    }

    fn job(&self) -> Job {
        Job {
            id: JobId::generate(),
            tenant: TenantId::default(),
            tool: None,
            runtime: Runtime::Node,
            image: DEFAULT_IMAGE.to_owned(),
            isolation: Isolation::Call,
            content_hash: None,
            revision: 0,
            code: Bytes::new(),
            dependency_lock: None,
            timeout: TimeoutMs::DEFAULT,
            max_output_bytes: 200_000,
            max_memory: None,
            session: Some(SessionWork {
                session: self.session.id.clone(),
                owner: self.session.owner.clone(),
                epoch: self.epoch,
                task: SessionTask::Commands {
                    commands: vec!["true".to_owned()],
                    continue_on_error: false,
                    background: None,
                },
            }),
        }
    }

    async fn stop(self) {
        self.sandboxes.close().await;
        self.engine.shutdown().await;
    }
}

fn wanted() -> OpenSession {
    OpenSession {
        id: SandboxId::generate(),
        tenant: TenantId::default(),
        owner: "bench".to_owned(),
        image: DEFAULT_IMAGE.to_owned(),
        timeout: TimeoutMs::DEFAULT,
        idle: Duration::from_secs(600),
        lives: Duration::from_secs(600),
        memory: None,
    }
}
