//! The executor's one seam: what runs a job. Everything above it (gRPC, capacity, the fleet) is the same for every engine.

#[cfg(test)]
pub(crate) mod fake;
pub mod several;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{
    Dependency, Finished, ImageStatus, Job, JobEvent, Placement, Rejection, RuntimeStatus,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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
