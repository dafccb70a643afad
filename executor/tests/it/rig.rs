//! An executor's engine for one test: an identity of its own, few containers, and a check that none is left.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_executor::docker::DockerEngine;
use dynamic_mcp_executor::docker::client::EngineClient;
use dynamic_mcp_executor::docker::config::{DockerConfig, KeptConfig, PoolConfig};
use dynamic_mcp_executor::engine::{Engine, PreparedJob};
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::content::ContentHash;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Finished, Isolation, Job, Progress, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, TimeoutMs};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub struct Rig {
    pub engine: Arc<DockerEngine>,
    pub identity: Arc<Identity>,
    pub client: EngineClient,
    _state: Option<tempfile::TempDir>,
    lifecycle: Lifecycle,
}

pub fn small() -> DockerConfig {
    DockerConfig {
        memory: ByteSize(256 << 20),
        tmp: ByteSize(16 << 20),
        workspace: ByteSize(32 << 20),
        pids: 64,
        slots: 4,
        pool: PoolConfig { floor: 1, ceiling: 2 },
        ..DockerConfig::default()
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(small()).await
    }

    pub async fn with(config: DockerConfig) -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::claim(state.path()).unwrap();
        let mut rig = Self::over(config, identity);
        rig._state = Some(state);
        rig.until_ready().await;
        rig
    }

    /// Of an identity that the test owns; does not wait for the Engine.
    pub fn over(config: DockerConfig, identity: Identity) -> Self {
        let identity = Arc::new(identity);
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let client = EngineClient::new(config.host.as_deref()).unwrap();
        let clock = Arc::new(SystemClock);
        let engine = DockerEngine::connect(config, Arc::clone(&identity), clock, &lifecycle).unwrap();
        Self {
            engine,
            identity,
            client,
            _state: None,
            lifecycle,
        }
    }

    pub async fn until_ready(&self) {
        eventually("a warm sandbox", async || {
            let status = self.engine.status();
            status.runtimes[0].is_available() && status.images.iter().all(|image| image.warm > 0)
        })
        .await;
    }

    pub async fn prepare(&self, job: Job) -> Box<dyn PreparedJob> {
        self.engine.prepare(job).await.unwrap()
    }

    pub async fn run(&self, job: Job, args: Value) -> Finished {
        let prepared = self.prepare(job).await;
        run(prepared, args).await
    }

    pub async fn call(&self, code: &str) -> Finished {
        self.run(job(code), serde_json::json!({})).await
    }

    /// What a neighbour sees while something hostile happens.
    pub async fn assert_neighbour_unharmed(&self) {
        let finished = self.call("return 'unharmed'").await;
        assert_eq!(result(&finished), "unharmed");
    }

    pub async fn containers(&self) -> Vec<String> {
        let mine = format!("executor={}", self.identity.id);
        let listed = self.client.list(&[mine]).await.unwrap();
        listed.into_iter().filter_map(|container| container.id).collect()
    }

    /// Ends the engine and looks for what it left.
    pub async fn finish(self) {
        self.lifecycle.begin_shutdown();
        self.engine.shutdown().await;
        assert_eq!(
            self.containers().await,
            Vec::<String>::new(),
            "containers are left"
        );
    }
}

impl Drop for Rig {
    /// A test that failed cleans up too.
    fn drop(&mut self) {
        let mine = format!("label=executor={}", self.identity.id);
        let listed = Command::new("docker")
            .args(["ps", "-aq", "--filter", &mine])
            .output();
        let ids = listed.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _ = Command::new("docker").args(["rm", "-f", id]).output();
        }
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
    }
}

/// A stored tool that keeps its container. Its hash is of the code, as far as a test needs it.
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
    let (progress, _nobody) = mpsc::channel::<Progress>(1);
    prepared
        .run(Bytes::from(args.to_string()), progress, CancellationToken::new())
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

pub fn idle_after(idle: Duration) -> DockerConfig {
    DockerConfig {
        kept: KeptConfig {
            idle,
            ..KeptConfig::default()
        },
        ..small()
    }
}
