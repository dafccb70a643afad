//! The executor's engine over this program.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_executor::engine::Engine as _;
use dynamic_mcp_executor::isolate::{IsolateConfig, IsolateEngine};
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Finished, Isolation, Job, Placement, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Of a call that doesn't end by itself.
pub const DEADLINE: Duration = Duration::from_millis(1_500);
/// Of its printed output, and of its result.
pub const MAX_OUTPUT: u64 = 100_000;

pub struct Rig {
    engine: Arc<IsolateEngine>,
    _lifecycle: Lifecycle,
}

pub fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

impl Rig {
    pub async fn start() -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let engine = IsolateEngine::start(IsolateConfig::default(), &lifecycle).await;
        Self {
            engine: engine.unwrap(),
            _lifecycle: lifecycle,
        }
    }

    pub async fn call(&self, act: &str) -> Finished {
        self.run(job(act, Isolation::Call), "{}".to_owned()).await.1
    }

    pub async fn run(&self, job: Job, args: String) -> (Placement, Finished) {
        let prepared = self.engine.prepare(job).await.unwrap();
        let placement = prepared.placement();
        // Nobody takes any out, as a client that has stalled would not.
        let (progress, _stalled) = mpsc::channel(4);
        let finished = prepared.run(args.into(), progress, CancellationToken::new());
        (placement, finished.await)
    }

    pub async fn finish(self) {
        self.engine.shutdown().await;
    }
}

pub fn job(act: &str, isolation: Isolation) -> Job {
    Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: Some("hostile".to_owned()),
        runtime: Runtime::Isolate,
        image: String::new(),
        isolation,
        content_hash: Some("0".repeat(64).try_into().unwrap()),
        revision: 1,
        code: act.to_owned().into(),
        dependency_lock: None,
        timeout: TimeoutMs::new(1_500).unwrap(),
        max_output_bytes: MAX_OUTPUT,
        max_memory: None,
        session: None,
    }
}

/// Of this process, the most since it was asked for the last time.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    // proc(5): from now on the peak is counted anew.
    let _old_kernel = std::fs::write("/proc/self/clear_refs", "5");
    line.split_whitespace().next().unwrap().parse().unwrap()
}
