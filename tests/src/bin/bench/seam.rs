//! The isolate engine at the executor's own seam, in this process: what a call costs before gRPC, HTTP and MCP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use dynamic_mcp_executor::engine::Engine;
use dynamic_mcp_executor::isolate::{IsolateConfig, IsolateEngine};
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Isolation, Job, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::load::Samples;

pub struct Seam {
    engine: Arc<IsolateEngine>,
    /// From nothing to a zygote that has proved its walls.
    pub ready_after: Duration,
}

impl Seam {
    pub async fn start() -> Result<Self> {
        let began = Instant::now();
        let engine =
            IsolateEngine::start(IsolateConfig::default(), &Lifecycle::new(Duration::from_secs(5))).await?;
        Ok(Self {
            engine,
            ready_after: began.elapsed(),
        })
    }

    pub async fn together(&self, clients: usize, time: Duration) -> Result<Samples> {
        let started = Instant::now();
        let taken = try_join_all((0..clients).map(|_| async {
            let mut taken = Vec::new();
            while started.elapsed() < time {
                let begun = Instant::now();
                self.call().await?;
                taken.push(begun.elapsed());
            }
            anyhow::Ok(taken)
        }))
        .await?;
        Ok(Samples::new(taken.concat(), started.elapsed()))
    }

    pub async fn stop(self) {
        self.engine.shutdown().await;
    }

    async fn call(&self) -> Result<()> {
        let prepared = self.engine.prepare(job()).await?;
        let (events, _nobody) = mpsc::channel(1);
        let args = Bytes::from_static(br#"{"text":"hello"}"#);
        let finished = prepared.run(args, events, CancellationToken::new()).await;
        if !finished.outcome.is_ok() {
            bail!("{finished:?}");
        }
        Ok(())
    }
}

fn job() -> Job {
    Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: None,
        runtime: Runtime::Isolate,
        image: String::new(),
        isolation: Isolation::Call,
        content_hash: None,
        revision: 0,
        code: Bytes::from_static(crate::CODE.as_bytes()),
        dependency_lock: None,
        timeout: TimeoutMs::DEFAULT,
        max_output_bytes: 200_000,
        max_memory: None,
        session: None,
    }
}
