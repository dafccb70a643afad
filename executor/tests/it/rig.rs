//! An engine for one test, whichever it is, and what shows of its sandboxes from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_executor::docker::config::DockerConfig;
use dynamic_mcp_executor::engine::{Engine, PreparedJob};
use dynamic_mcp_executor::isolate::IsolateConfig;
use dynamic_mcp_executor::kept::KeptConfig;
use dynamic_mcp_shared::content::ContentHash;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Finished, Isolation, Job, JobEvent, Rejection, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, TimeoutMs};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::docker::rig::{DockerRig, small};
use crate::isolate::rig::IsolateRig;

/// What a call may use, on each engine.
pub const MEMORY: ByteSize = ByteSize(256 << 20);

/// The engine that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Docker,
    Isolate,
}

impl On {
    pub fn runtime(self) -> Runtime {
        match self {
            On::Docker => Runtime::Node,
            On::Isolate => Runtime::Isolate,
        }
    }

    /// As `MCP_EXECUTION_ENGINE` names it.
    pub fn setting(self) -> &'static str {
        match self {
            On::Docker => "docker",
            On::Isolate => "isolate",
        }
    }

    pub async fn start(self) -> Rig {
        self.keeping(KeptConfig::default()).await
    }

    /// With a word on how long a sandbox stays with its tool.
    pub async fn keeping(self, kept: KeptConfig) -> Rig {
        match self {
            On::Docker => {
                let config = DockerConfig { kept, ..small() };
                DockerRig::with(config).await.rig
            }
            On::Isolate => {
                let config = IsolateConfig {
                    kept,
                    ..crate::isolate::rig::small()
                };
                IsolateRig::with(config).await.rig
            }
        }
    }
}

/// How a test sees from outside what an engine runs, without asking the engine.
#[async_trait]
pub trait Outside: Send + Sync {
    /// What is there to run calls in, waiting or at work.
    async fn sandboxes(&self) -> Vec<String>;

    /// How many may wait for a call.
    fn most_waiting(&self) -> usize;

    /// As somebody with the machine's rights does it.
    async fn kill(&self, sandbox: &str);

    /// What is there when nothing should be any more.
    async fn left(&self) -> Vec<String> {
        self.sandboxes().await
    }
}

pub struct Rig {
    pub engine: Arc<dyn Engine>,
    runtime: Runtime,
    outside: Arc<dyn Outside>,
    lifecycle: Lifecycle,
}

impl Rig {
    pub fn new(
        engine: Arc<dyn Engine>,
        runtime: Runtime,
        outside: Arc<dyn Outside>,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            engine,
            runtime,
            outside,
            lifecycle,
        }
    }

    /// Until the next call has not to wait for its sandbox.
    pub async fn until_ready(&self) {
        eventually("a warm sandbox", async || {
            let status = self.engine.status();
            status.runtimes[0].is_available() && status.images.iter().all(|image| image.warm > 0)
        })
        .await;
    }

    /// Until there are only sandboxes that wait for a call.
    pub async fn until_quiet(&self) {
        eventually("only what waits is left", async || {
            self.sandboxes().await.len() <= self.outside.most_waiting()
        })
        .await;
    }

    pub async fn try_prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        let runtime = self.runtime;
        self.engine.prepare(Job { runtime, ..job }).await
    }

    pub async fn prepare(&self, job: Job) -> Box<dyn PreparedJob> {
        self.try_prepare(job).await.unwrap()
    }

    pub async fn refusal(&self, job: Job) -> Rejection {
        self.try_prepare(job).await.err().unwrap()
    }

    pub async fn run(&self, job: Job, args: Value) -> Finished {
        let prepared = self.prepare(job).await;
        run(prepared, args).await
    }

    pub async fn call(&self, code: &str) -> Finished {
        self.run(job(code), json!({})).await
    }

    /// Runs a hostile body for so many milliseconds at most while a neighbour is called.
    pub async fn beside_a_neighbour(&self, code: &str, ms: u64) -> Finished {
        let prepared = self.prepare(within(job(code), ms)).await;
        let (finished, ()) = tokio::join!(run(prepared, json!({})), self.assert_neighbour_unharmed());
        finished
    }

    /// What a neighbour sees while something hostile happens.
    pub async fn assert_neighbour_unharmed(&self) {
        let finished = self.call("return 'unharmed'").await;
        assert_eq!(result(&finished), "unharmed");
    }

    pub async fn sandboxes(&self) -> Vec<String> {
        self.outside.sandboxes().await
    }

    pub async fn kill_all_sandboxes(&self) {
        for sandbox in self.sandboxes().await {
            self.outside.kill(&sandbox).await;
        }
    }

    /// Ends the engine and looks for what it left.
    pub async fn finish(self) {
        self.lifecycle.begin_shutdown();
        self.engine.shutdown().await;
        let left = self.outside.left().await;
        assert_eq!(left, Vec::<String>::new(), "something is left");
    }
}

pub fn job(code: &str) -> Job {
    Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: None,
        runtime: Runtime::Node,
        image: DEFAULT_IMAGE.to_owned(),
        isolation: Isolation::Call,
        content_hash: None,
        revision: 0,
        code: Bytes::copy_from_slice(code.as_bytes()),
        dependency_lock: None,
        timeout: TimeoutMs::new(20_000).unwrap(),
        max_output_bytes: 10_000,
        max_memory: None,
        session: None,
    }
}

/// A stored tool that keeps its sandbox. Its hash is of the code, as far as a test needs it.
pub fn kept(tool: &str, code: &str) -> Job {
    let digits: String = code.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hash: ContentHash = format!("{digits:0<64}")[..64].to_owned().try_into().unwrap();
    Job {
        tool: Some(tool.to_owned()),
        isolation: Isolation::Tool,
        content_hash: Some(hash),
        revision: 1,
        ..job(code)
    }
}

pub fn within(job: Job, ms: u64) -> Job {
    Job {
        timeout: TimeoutMs::new(ms).unwrap(),
        ..job
    }
}

pub async fn run(prepared: Box<dyn PreparedJob>, args: Value) -> Finished {
    let (events, _nobody) = mpsc::channel::<JobEvent>(1);
    prepared
        .run(Bytes::from(args.to_string()), events, CancellationToken::new())
        .await
}

/// The result of a call that must have gone well.
pub fn result(finished: &Finished) -> Value {
    assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
    serde_json::from_slice(finished.result.as_ref().unwrap()).unwrap()
}

/// The message of a call that must have ended so.
pub fn failure(finished: &Finished, outcome: Outcome) -> String {
    assert_eq!(
        finished.outcome, outcome,
        "{:?} {:?}",
        finished.error, finished.result
    );
    assert_eq!(finished.result, None);
    finished.error.as_ref().unwrap().message.clone()
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
