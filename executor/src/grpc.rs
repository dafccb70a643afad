//! The `Executor` service: it checks what comes in, asks the engine, and tells how it went. What a job is and how it
//! runs is the engine's matter.

mod conversation;
mod sandboxes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::executor_server::{Executor, ExecutorServer};
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::Dependency;
use dynamic_mcp_shared::join_token::{JoinToken, RequireToken};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::MAX_WIRE_MESSAGE_BYTES;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::propagation;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::capacity::Capacity;
use crate::engine::{Engine, ResolveError};
use crate::leaving::Leaving;
use crate::sandbox::Sandboxes;
use conversation::Conversation;
pub use sandboxes::SandboxesService;

/// Events that wait for a slow caller; progress beyond it is dropped.
const EVENT_BUFFER: usize = 64;
/// Installs are heavy and rare: a few at once, the others wait their turn within [`Deadlines::resolve`].
const CONCURRENT_RESOLVES: usize = 4;

/// How long the service waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the caller's first message.
    pub prepare_message: Duration,
    /// For the caller's `start` after `ready`.
    pub start_message: Duration,
    /// For the engine to get a sandbox ready; an install of dependencies is in it.
    pub prepare: Duration,
    /// What the engine gets beyond a job's own time-out, which it enforces itself.
    pub overrun: Duration,
    /// For resolving dependencies, the wait for a turn included.
    pub resolve: Duration,
    /// For a caller that does not read to take the last event.
    pub last_event: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            prepare_message: Duration::from_secs(10),
            start_message: Duration::from_secs(10),
            prepare: Duration::from_secs(240),
            overrun: Duration::from_secs(30),
            resolve: Duration::from_secs(180),
            last_event: Duration::from_secs(30),
        }
    }
}

/// What every call of the service needs.
#[derive(Clone)]
pub struct ExecutorService {
    engine: Arc<dyn Engine>,
    capacity: Capacity,
    sandboxes: Sandboxes,
    policy: Arc<SandboxPolicy>,
    lifecycle: Lifecycle,
    epoch: u64,
    leaving: Leaving,
    deadlines: Deadlines,
    resolves: Arc<Semaphore>,
}

impl ExecutorService {
    pub fn new(
        engine: Arc<dyn Engine>,
        capacity: Capacity,
        sandboxes: Sandboxes,
        policy: SandboxPolicy,
        lifecycle: Lifecycle,
        epoch: u64,
    ) -> Self {
        Self {
            engine,
            leaving: Leaving::new(capacity.clone(), sandboxes.clone(), lifecycle.clone()),
            epoch,
            capacity,
            sandboxes,
            policy: Arc::new(policy),
            lifecycle,
            deadlines: Deadlines::default(),
            resolves: Arc::new(Semaphore::new(CONCURRENT_RESOLVES)),
        }
    }

    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The service behind the join token and the wire's message size.
    pub fn into_server(self, token: &JoinToken) -> InterceptedService<ExecutorServer<Self>, RequireToken> {
        let server = ExecutorServer::new(self)
            .max_decoding_message_size(MAX_WIRE_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_WIRE_MESSAGE_BYTES);
        InterceptedService::new(server, token.require())
    }

    /// What the policy says of a request; the text is for the tool's author.
    fn check_dependencies(&self, image: &str, dependencies: &[Dependency]) -> Result<(), String> {
        self.policy
            .check_image(image)
            .and_then(|()| self.policy.check_dependencies(dependencies))
            .map_err(|error| error.to_string())
    }

    async fn resolve(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<bytes::Bytes, ResolveError> {
        let in_turn = async {
            let _turn = self.resolves.acquire().await;
            self.engine
                .resolve_dependencies(tenant, image, dependencies)
                .await
        };
        timeout(self.deadlines.resolve, in_turn)
            .await
            .unwrap_or_else(|_| {
                let seconds = self.deadlines.resolve.as_secs();
                Err(ResolveError::Unavailable(format!(
                    "the dependencies were not resolved within {seconds} s"
                )))
            })
    }
}

#[tonic::async_trait]
impl Executor for ExecutorService {
    type ExecuteStream = ReceiverStream<Result<v1::ExecuteEvent, Status>>;

    async fn execute(
        &self,
        request: Request<Streaming<v1::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let span = tracing::info_span!(
            "job",
            job.id = tracing::field::Empty,
            tenant = tracing::field::Empty,
            outcome = tracing::field::Empty,
        );
        propagation::adopt_from_metadata(&span, request.metadata());
        let (events, stream) = mpsc::channel(EVENT_BUFFER);
        let conversation = Conversation::new(self.clone(), request.into_inner(), events);
        self.lifecycle.spawn(conversation.hold().instrument(span));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn resolve_dependencies(
        &self,
        request: Request<v1::ResolveDependenciesRequest>,
    ) -> Result<Response<v1::ResolveDependenciesResponse>, Status> {
        use v1::resolve_dependencies_response::Result as Answer;

        let span = tracing::info_span!("resolve_dependencies", tenant = tracing::field::Empty);
        propagation::adopt_from_metadata(&span, request.metadata());
        let request = request.into_inner();
        let tenant: TenantId = request
            .tenant
            .parse()
            .map_err(|error| Status::invalid_argument(format!("tenant: {error}")))?;
        span.record("tenant", tenant.as_str());
        if self.capacity.is_draining() {
            return Err(Status::unavailable("this executor is draining"));
        }
        let dependencies: Vec<Dependency> = request.dependencies.into_iter().map(Dependency::from).collect();
        let result = match self.check_dependencies(&request.image, &dependencies) {
            Err(refused) => Answer::Refused(refused),
            Ok(()) => {
                let resolving = self.resolve(&tenant, &request.image, &dependencies);
                match resolving.instrument(span).await {
                    Ok(lock) => Answer::Lock(lock),
                    Err(ResolveError::Refused(refused)) => Answer::Refused(refused),
                    Err(ResolveError::Unavailable(message)) => {
                        tracing::warn!(%tenant, %message, "dependencies could not be resolved");
                        return Err(Status::unavailable(message));
                    }
                }
            }
        };
        Ok(Response::new(v1::ResolveDependenciesResponse {
            result: Some(result),
        }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let v1::DrainRequest { epoch, reason } = request.into_inner();
        if epoch != self.epoch {
            return Err(Status::failed_precondition(format!(
                "this executor has epoch {}, not {epoch}",
                self.epoch
            )));
        }
        let was_draining = !self.leaving.begin(&reason);
        let running = self.capacity.running_jobs().len();
        Ok(Response::new(v1::DrainResponse {
            running: u32::try_from(running).unwrap_or(u32::MAX),
            was_draining,
        }))
    }
}
