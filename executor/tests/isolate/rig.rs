//! An engine for one test, whose zygotes are the finished executor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_executor::engine::{Engine as _, PreparedJob};
use dynamic_mcp_executor::isolate::{IsolateConfig, IsolateEngine};
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Finished, Isolation, Job, JobEvent, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::outcome::Outcome;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::processes::{descendants, me};

pub struct Rig {
    pub engine: Arc<IsolateEngine>,
    _lifecycle: Lifecycle,
}

pub fn config() -> IsolateConfig {
    IsolateConfig {
        program: env!("CARGO_BIN_EXE_dynamic-mcp-executor").into(),
        spares: 2,
        slots: 8,
        ..IsolateConfig::default()
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: IsolateConfig) -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let engine = IsolateEngine::start(config, &lifecycle).await.unwrap();
        Self {
            engine,
            _lifecycle: lifecycle,
        }
    }

    pub async fn prepare(&self, code: &str, ms: u64) -> Box<dyn PreparedJob> {
        self.engine.prepare(job(code, ms)).await.unwrap()
    }

    pub async fn call(&self, code: &str) -> Finished {
        run(self.prepare(code, 10_000).await).await
    }

    pub async fn assert_works(&self) {
        let finished = self.call("return 1").await;
        assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
    }

    /// Ends the engine and looks for what it left.
    pub async fn finish(self) {
        self.engine.shutdown().await;
        eventually("nothing is left", async || descendants(me()).is_empty()).await;
    }
}

pub fn job(code: &str, ms: u64) -> Job {
    Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: None,
        runtime: Runtime::Isolate,
        image: String::new(),
        isolation: Isolation::Call,
        content_hash: None,
        revision: 0,
        code: Bytes::copy_from_slice(code.as_bytes()),
        dependency_lock: None,
        timeout: TimeoutMs::new(ms).unwrap(),
        max_output_bytes: 10_000,
        max_memory: None,
        session: None,
    }
}

pub async fn run(prepared: Box<dyn PreparedJob>) -> Finished {
    run_with(prepared, "{}").await
}

pub async fn run_with(prepared: Box<dyn PreparedJob>, args: &'static str) -> Finished {
    let (events, _nobody) = mpsc::channel::<JobEvent>(1);
    prepared.run(args.into(), events, CancellationToken::new()).await
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
