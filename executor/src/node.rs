//! An executor itself, whoever it serves: its identity, its engine, its slots, and the gRPC server over them. It is the
//! same in a process of its own and inside the all-in-one server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1::executor_server::ExecutorServer;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::tls::{OnlyFrom, Role};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::server::HealthReporter;

use crate::capacity::Capacity;
use crate::engine::Engine;
use crate::grpc::{Deadlines, ExecutorService, SandboxesService};
use crate::identity::Identity;
use crate::sandbox::{SandboxLimits, Sandboxes};

/// Both ends ping: a network that is cut without a word, or a caller that is held still, is noticed within the sum of these
/// two. That is less than a permit lasts without being renewed: the code of a silent caller has ended when its permit goes
/// to somebody else.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A stream's window; one large result must not wait for a round trip each 64 KiB.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// Streams beside those of jobs: health, resolving, and jobs that are about to be refused.
const SPARE_STREAMS: u32 = 256;
/// What open connections get to close after the last job.
const CLOSING: Duration = Duration::from_secs(2);
/// How soon a change of the engine shows in the health service.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// For the engine to remove what it made.
const ENGINE_SHUTDOWN: Duration = Duration::from_secs(20);

/// The service whose health is reported.
type Served = ExecutorServer<ExecutorService>;

pub struct Node {
    identity: Arc<Identity>,
    engine: Arc<dyn Engine>,
    capacity: Capacity,
    sandboxes: Sandboxes,
    policy: SandboxPolicy,
}

impl Node {
    pub fn new(identity: Arc<Identity>, engine: Arc<dyn Engine>, slots: u32, policy: SandboxPolicy) -> Self {
        let limits = SandboxLimits::default();
        Self {
            sandboxes: Sandboxes::new(Arc::clone(&engine), Arc::new(SystemClock), identity.epoch, limits),
            identity,
            engine,
            capacity: Capacity::new(slots),
            policy,
        }
    }

    #[must_use]
    pub fn with_sandboxes(mut self, limits: SandboxLimits) -> Self {
        let engine = Arc::clone(&self.engine);
        self.sandboxes = Sandboxes::new(engine, Arc::new(SystemClock), self.identity.epoch, limits);
        self
    }

    pub fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    /// From now on no job that needs a slot is taken and no session is opened; what is here goes on. Answers whether
    /// that is news.
    pub fn drain(&self) -> bool {
        self.sandboxes.drain();
        self.capacity.drain()
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// A snapshot that costs nothing.
    pub fn status(&self) -> NodeStatus {
        let engine = self.engine.status();
        let running_jobs = self.capacity.running_jobs();
        NodeStatus {
            slots: self.capacity.slots(),
            running: u32::try_from(self.capacity.taken()).unwrap_or(u32::MAX),
            draining: self.capacity.is_draining(),
            runtimes: engine.runtimes,
            images: engine.images,
            running_jobs,
            sandboxes: self.sandboxes.snapshot(),
            sandbox_slots: self.sandboxes.slots(),
        }
    }

    /// Serves until the lifecycle's soft token and the end of the last job, which the hard token hastens. Answers
    /// with a token that is cancelled when serving ends.
    pub fn serve<C>(
        self: &Arc<Self>,
        incoming: impl Stream<Item = io::Result<C>> + Send + 'static,
        token: &JoinToken,
        deadlines: Deadlines,
        lifecycle: &Lifecycle,
    ) -> CancellationToken
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        let service = ExecutorService::new(
            Arc::clone(&self.engine),
            self.capacity.clone(),
            self.sandboxes.clone(),
            self.policy.clone(),
            lifecycle.clone(),
            self.identity.epoch,
        )
        .with_deadlines(deadlines)
        .into_server(token);
        let sandboxes = SandboxesService::new(self.sandboxes.clone(), self.policy.clone(), lifecycle.clone())
            .into_server(token);
        let streams = self.capacity.slots().saturating_add(SPARE_STREAMS);
        let router = Server::builder()
            .layer(InterceptorLayer::new(OnlyFrom(Role::ControlPlane)))
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(streams)
            // A burst of cancels is no attack here: the callers hold the join token.
            .http2_max_pending_accept_reset_streams(Some(streams as usize))
            .add_service(health_service)
            .add_service(service)
            .add_service(sandboxes);

        lifecycle.spawn(Arc::clone(self).drain_at_shutdown(lifecycle.clone(), stop.clone()));
        lifecycle.spawn(Arc::clone(self).report_health(health, stop.clone()));
        let closing = stop.clone();
        let stopped = stop.clone();
        lifecycle.spawn(async move {
            let served = router.serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());
            let closed_late = async {
                closing.cancelled().await;
                tokio::time::sleep(CLOSING).await;
            };
            let ended = tokio::select! {
                ended = served => ended,
                () = closed_late => Ok(()),
            };
            if let Err(error) = ended {
                tracing::error!(%error, "the executor's gRPC server failed");
            }
        });
        stopped
    }

    /// Removes what the engine made. After the lifecycle has ended.
    pub async fn shutdown_engine(&self) {
        if tokio::time::timeout(ENGINE_SHUTDOWN, self.engine.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("the engine did not remove all its sandboxes in time; the next start will");
        }
    }

    /// What runs in sandbox sessions has the grace time to end; a session in which nothing runs does not hold it up.
    async fn drain_at_shutdown(self: Arc<Self>, lifecycle: Lifecycle, stop: CancellationToken) {
        lifecycle.soft().cancelled().await;
        if self.drain() {
            tracing::info!("draining: no new jobs");
        }
        self.capacity.idle().await;
        tokio::select! {
            () = self.sandboxes.quiet() => {}
            () = lifecycle.hard().cancelled() => {}
        }
        self.sandboxes.close().await;
        stop.cancel();
    }

    async fn report_health(self: Arc<Self>, health: HealthReporter, stop: CancellationToken) {
        let mut serving = None;
        loop {
            let status = self.status();
            let now = status.is_ready() && !status.draining;
            if serving != Some(now) {
                serving = Some(now);
                if now {
                    health.set_serving::<Served>().await;
                } else {
                    health.set_not_serving::<Served>().await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
