//! The executor's one seam: what runs a job. Everything above it (gRPC, capacity, the fleet) is the same for every engine.

#[cfg(test)]
pub(crate) mod fake;
pub mod several;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{
    Dependency, Finished, ImageStatus, Job, JobEvent, Placement, RejectReason, Rejection, RuntimeStatus,
};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{OpenedSandbox, SandboxSpec};

/// An archive as it is read; its last word may be that it is not whole.
pub type Archive = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Gets a sandbox ready, so that running only has to write the arguments. Nothing of the user's code runs.
    async fn prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection>;

    /// Turns declared dependencies into a lock, without running any of their code.
    async fn resolve_dependencies(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError>;

    /// Whether it has sandboxes that can stay for their owner.
    fn holds_sandboxes(&self) -> bool {
        false
    }

    /// A sandbox for a session. Dropping the future leaves nothing behind.
    async fn open_sandbox(&self, _spec: &SandboxSpec) -> Result<OpenedSandbox, Rejection> {
        Err(Rejection {
            reason: RejectReason::Unsupported,
            message: "sandbox sessions need a Docker Engine, and this executor has none".to_owned(),
        })
    }

    /// The packages of a lock as a tar archive of `node_modules`.
    async fn packages(&self, _tenant: &TenantId, _image: &str, _lock: &[u8]) -> Result<Archive, Rejection> {
        Err(Rejection {
            reason: RejectReason::Unsupported,
            message: "npm packages need a Docker Engine, and this executor has none".to_owned(),
        })
    }

    /// A snapshot that costs nothing: it never asks the engine.
    fn status(&self) -> EngineStatus;

    /// Removes everything the engine made in this process. Running jobs must have ended.
    async fn shutdown(&self);
}

/// A sandbox that waits for its job's arguments. Dropping it gives the sandbox back or destroys it.
#[async_trait]
pub trait PreparedJob: Send {
    fn placement(&self) -> Placement;

    /// Runs the job to its end: its own deadline counts from here, and holds whether or not anybody still listens.
    /// Events that nobody takes in time are dropped. `cancel` destroys the sandbox.
    async fn run(
        self: Box<Self>,
        args: Bytes,
        events: mpsc::Sender<JobEvent>,
        cancel: CancellationToken,
    ) -> Finished;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// What it offers to run code with.
    pub runtimes: Vec<RuntimeStatus>,
    pub images: Vec<ImageStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The dependencies are at fault; the text is for the tool's author.
    #[error("{0}")]
    Refused(String),
    /// The engine or the package registry is at fault.
    #[error("{0}")]
    Unavailable(String),
}
