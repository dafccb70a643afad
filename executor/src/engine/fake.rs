//! An engine that does what a test tells it to, for faults that a real one can't be made to show on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{
    CapturedOutput, Dependency, Finished, Isolation, Job, JobEvent, Placement, Rejection, Runtime,
    RuntimeStatus, ToolError, Usage,
};
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::outcome::Outcome;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineStatus, PreparedJob, ResolveError};

/// What happened, and what shall happen. Clones are the same engine.
#[derive(Clone)]
pub(crate) struct FakeEngine(Arc<Script>);

pub(crate) struct Script {
    /// A sandbox is ready for each permit.
    pub(crate) prepare: Semaphore,
    /// A running job ends well for each permit.
    pub(crate) finish: Semaphore,
    pub(crate) rejection: Mutex<Option<Rejection>>,
    pub(crate) unavailable: Mutex<Option<String>>,
    /// Said by each job before it waits for its end.
    pub(crate) events: Mutex<Vec<JobEvent>>,
    pub(crate) given_back: AtomicUsize,
    pub(crate) ran: AtomicUsize,
    pub(crate) cancelled: AtomicUsize,
    pub(crate) shut_down: AtomicUsize,
}

impl FakeEngine {
    /// Prepares and finishes whatever comes.
    pub(crate) fn willing() -> Self {
        let engine = Self::waiting();
        engine.prepare.add_permits(1_000_000);
        engine.finish.add_permits(1_000_000);
        engine
    }

    /// Waits with everything until it is told.
    pub(crate) fn waiting() -> Self {
        Self(Arc::new(Script {
            prepare: Semaphore::new(0),
            finish: Semaphore::new(0),
            rejection: Mutex::default(),
            unavailable: Mutex::default(),
            events: Mutex::default(),
            given_back: AtomicUsize::default(),
            ran: AtomicUsize::default(),
            cancelled: AtomicUsize::default(),
            shut_down: AtomicUsize::default(),
        }))
    }
}

impl std::ops::Deref for FakeEngine {
    type Target = Script;

    fn deref(&self) -> &Script {
        &self.0
    }
}

pub(crate) fn job() -> Job {
    Job {
        id: JobId::generate(),
        tenant: Default::default(),
        tool: None,
        runtime: Runtime::Node,
        image: "node:lts-slim".to_owned(),
        isolation: Isolation::Call,
        content_hash: None,
        revision: 0,
        code: "return 1".into(),
        dependency_lock: None,
        timeout: TimeoutMs::DEFAULT,
        max_output_bytes: 1_000,
        max_memory: None,
        session: None,
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn prepare(&self, _job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        self.prepare.acquire().await.unwrap().forget();
        if let Some(rejection) = self.rejection.lock().clone() {
            return Err(rejection);
        }
        Ok(Box::new(FakeJob {
            engine: self.clone(),
            ran: false,
        }))
    }

    async fn resolve_dependencies(
        &self,
        _tenant: &TenantId,
        _image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        match dependencies.first().map(|dependency| dependency.name.as_str()) {
            Some("unknown") => Err(ResolveError::Refused("there is no package unknown".to_owned())),
            Some("broken") => Err(ResolveError::Unavailable("the registry is down".to_owned())),
            _ => Ok(Bytes::from_static(b"{}")),
        }
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Node,
                unavailable: self.unavailable.lock().clone(),
                sandbox: "fake".to_owned(),
            }],
            images: Vec::new(),
        }
    }

    async fn shutdown(&self) {
        self.shut_down.fetch_add(1, Ordering::SeqCst);
    }
}

struct FakeJob {
    engine: FakeEngine,
    ran: bool,
}

impl Drop for FakeJob {
    fn drop(&mut self) {
        if !self.ran {
            self.engine.given_back.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl PreparedJob for FakeJob {
    fn placement(&self) -> Placement {
        Placement::Warm
    }

    async fn run(
        mut self: Box<Self>,
        args: Bytes,
        events: mpsc::Sender<JobEvent>,
        cancel: CancellationToken,
    ) -> Finished {
        self.ran = true;
        self.engine.ran.fetch_add(1, Ordering::SeqCst);
        let said = self.engine.events.lock().clone();
        for event in said {
            let _full = events.try_send(event);
        }
        tokio::select! {
            permit = self.engine.finish.acquire() => permit.unwrap().forget(),
            () = cancel.cancelled() => {
                self.engine.cancelled.fetch_add(1, Ordering::SeqCst);
                return Finished::failed(Outcome::Cancelled, ToolError::new("Cancelled", "cancelled"));
            }
        }
        Finished {
            outcome: Outcome::Ok,
            result: Some(args),
            error: None,
            stdout: CapturedOutput::default(),
            stderr: CapturedOutput::default(),
            usage: Usage::default(),
        }
    }
}
