//! The engines of one node behind the one seam: a job goes to the engine that has its runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Dependency, Job, RejectReason, Rejection, Runtime, RuntimeStatus};
use futures::future::join_all;

use super::{Archive, Engine, EngineStatus, PreparedJob, ResolveError};
use crate::sandbox::{OpenedSandbox, SandboxSpec};

#[derive(Default)]
pub struct Engines(BTreeMap<Runtime, Offer>);

struct Offer {
    engine: Arc<dyn Engine>,
    /// An engine that is taken where it can be had is told of from the first time that it was there. From then on its
    /// loss is a fault, as that of an engine which was asked for is from the start.
    told: AtomicBool,
}

impl Engines {
    /// Offers the runtime whether or not the engine is there.
    #[must_use]
    pub fn with(self, runtime: Runtime, engine: Arc<dyn Engine>) -> Self {
        self.add(runtime, engine, true)
    }

    /// Offers the runtime as soon as the engine is there.
    #[must_use]
    pub fn with_if_there(self, runtime: Runtime, engine: Arc<dyn Engine>) -> Self {
        self.add(runtime, engine, false)
    }

    fn add(mut self, runtime: Runtime, engine: Arc<dyn Engine>, told: bool) -> Self {
        let told = AtomicBool::new(told);
        self.0.insert(runtime, Offer { engine, told });
        self
    }

    fn engine(&self, runtime: Runtime) -> Result<&dyn Engine, String> {
        match self.0.get(&runtime) {
            Some(offer) => Ok(&*offer.engine),
            None => Err(format!(
                "this executor does not offer runtime \"{runtime}\" (MCP_EXECUTION_ENGINE)"
            )),
        }
    }
}

impl Engines {
    fn containers(&self) -> Result<&dyn Engine, Rejection> {
        self.engine(Runtime::Node).map_err(|message| Rejection {
            reason: RejectReason::Unsupported,
            message,
        })
    }
}

impl Offer {
    fn status(&self) -> EngineStatus {
        let status = self.engine.status();
        if status.runtimes.iter().any(RuntimeStatus::is_available) {
            self.told.store(true, Ordering::Relaxed);
        }
        if self.told.load(Ordering::Relaxed) {
            return status;
        }
        EngineStatus {
            runtimes: Vec::new(),
            images: Vec::new(),
        }
    }
}

#[async_trait]
impl Engine for Engines {
    async fn prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        let engine = self.engine(job.runtime).map_err(|message| Rejection {
            reason: RejectReason::Unsupported,
            message,
        })?;
        engine.prepare(job).await
    }

    async fn resolve_dependencies(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        let engine = self.engine(Runtime::Node).map_err(ResolveError::Unavailable)?;
        engine.resolve_dependencies(tenant, image, dependencies).await
    }

    fn holds_sandboxes(&self) -> bool {
        self.0
            .values()
            .any(|offer| offer.engine.holds_sandboxes() && !offer.status().runtimes.is_empty())
    }

    async fn open_sandbox(&self, spec: &SandboxSpec) -> Result<OpenedSandbox, Rejection> {
        self.containers()?.open_sandbox(spec).await
    }

    async fn packages(&self, tenant: &TenantId, image: &str, lock: &[u8]) -> Result<Archive, Rejection> {
        self.containers()?.packages(tenant, image, lock).await
    }

    fn status(&self) -> EngineStatus {
        let (mut runtimes, mut images) = (Vec::new(), Vec::new());
        for status in self.0.values().map(Offer::status) {
            runtimes.extend(status.runtimes);
            images.extend(status.images);
        }
        EngineStatus { runtimes, images }
    }

    async fn shutdown(&self) {
        join_all(self.0.values().map(|offer| offer.engine.shutdown())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::{FakeEngine, job};

    fn offered(engines: &Engines) -> Vec<Runtime> {
        let runtimes = engines.status().runtimes;
        runtimes.into_iter().map(|status| status.runtime).collect()
    }

    #[tokio::test]
    async fn a_job_whose_runtime_is_not_offered_is_refused_by_its_name() {
        let engines = Engines::default().with(Runtime::Node, Arc::new(FakeEngine::willing()));
        assert!(engines.prepare(job()).await.is_ok());
        let isolate = Job {
            runtime: Runtime::Isolate,
            ..job()
        };
        let refused = engines.prepare(isolate).await.err().unwrap();
        assert_eq!(refused.reason, RejectReason::Unsupported);
        assert!(refused.message.contains("\"isolate\""), "{}", refused.message);
    }

    #[test]
    fn an_engine_that_was_never_there_is_not_told_of_until_it_comes_and_stays_told_of_when_it_goes() {
        let engine = FakeEngine::willing();
        *engine.unavailable.lock() = Some("no answer".to_owned());
        let engines = Engines::default().with_if_there(Runtime::Node, Arc::new(engine.clone()));
        assert_eq!(offered(&engines), []);
        *engine.unavailable.lock() = None;
        assert_eq!(offered(&engines), [Runtime::Node]);
        *engine.unavailable.lock() = Some("gone".to_owned());
        assert_eq!(offered(&engines), [Runtime::Node]);
    }

    #[test]
    fn an_engine_that_was_asked_for_is_told_of_from_the_start() {
        let engine = FakeEngine::willing();
        *engine.unavailable.lock() = Some("no answer".to_owned());
        let engines = Engines::default().with(Runtime::Node, Arc::new(engine));
        assert_eq!(offered(&engines), [Runtime::Node]);
    }
}
