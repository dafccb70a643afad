//! What runs the jobs: executors that join over the fleet service, or one in this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
#[cfg(feature = "embedded-executor")]
use dynamic_mcp_executor::app::{EmbeddedExecutor, embedded};
#[cfg(feature = "embedded-executor")]
use dynamic_mcp_executor::cli::EngineArgs;
use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
#[cfg(feature = "embedded-executor")]
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::readiness::Readiness;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
#[cfg(feature = "embedded-executor")]
use tonic::service::interceptor::InterceptedService;

use super::trust;
use crate::config::FleetSettings;
use crate::grpc::{self, Admission};
use crate::redis::Redis;
use crate::roster::Roster;
use crate::scheduler::fleet::Fleet;
#[cfg(feature = "embedded-executor")]
use crate::scheduler::fleet::{Membership, NodeInfo, StatusSource};

/// For executors to take note that the fleet service ends; they come back by themselves.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);

/// The other replicas, and which one of them this is.
pub(super) struct Others {
    pub(super) redis: Redis,
    pub(super) replica: ReplicaId,
}

pub(super) enum Executors {
    /// They join from elsewhere and look after themselves.
    Joining {
        stop: CancellationToken,
        service: TaskTracker,
    },
    #[cfg(feature = "embedded-executor")]
    Embedded {
        executor: Box<EmbeddedExecutor>,
        _membership: Membership,
    },
}

impl Executors {
    /// Lets executors join at the configured address.
    pub(super) async fn joining(
        settings: FleetSettings,
        fleet: &Arc<Fleet>,
        others: Option<Others>,
        readiness: &Readiness,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let trust = settings.tls.map(|files| trust::open(files, readiness, lifecycle));
        let admission = Admission {
            join_token: settings.join_token,
            trust: trust.transpose()?,
            insecure: settings.insecure,
        };
        if let Some(file) = settings.join_token_file {
            admission.join_token.keep_current(file, lifecycle);
        }
        let listener = TcpListener::bind(settings.bind)
            .await
            .with_context(|| format!("MCP_FLEET_BIND: {} can't be bound", settings.bind))?;
        tracing::info!(
            address = %listener.local_addr()?,
            encrypted = admission.trust.is_some(),
            "waiting for executors"
        );
        let admission = Arc::new(admission);
        let (stop, service) = (CancellationToken::new(), TaskTracker::new());
        if let Some(Others { redis, replica }) = others {
            let roster = Roster::open(fleet.clone(), redis, admission.clone(), replica).await;
            service.spawn(stop.clone().run_until_cancelled_owned(roster.keep()));
        }
        let serve = grpc::serve(listener, fleet.clone(), admission, stop.clone());
        service.spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the fleet service ended");
            }
        });
        service.close();
        Ok(Self::Joining { stop, service })
    }

    /// Starts one in this process.
    #[cfg(feature = "embedded-executor")]
    pub(super) async fn embedded(
        engine: &EngineArgs,
        policy: &SandboxPolicy,
        fleet: &Arc<Fleet>,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let executor = embedded(engine, policy, lifecycle)
            .await
            .context("the embedded executor")?;
        let channel = InterceptedService::new(executor.channel(), executor.join_token().attach());
        let info = NodeInfo {
            id: executor.id().clone(),
            epoch: executor.epoch(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: String::new(),
        };
        let ask = executor.clone();
        let source = StatusSource::Local(Box::new(move || ask.status()));
        let membership = fleet.join(info, channel, source)?;
        Ok(Self::Embedded {
            executor: Box::new(executor),
            _membership: membership,
        })
    }

    /// To be called when no call runs any more.
    pub(super) async fn shutdown(&self) {
        match self {
            Executors::Joining { stop, service } => {
                stop.cancel();
                if tokio::time::timeout(LEAVE_DEADLINE, service.wait())
                    .await
                    .is_err()
                {
                    tracing::warn!("executors did not let go of the fleet service in time");
                }
            }
            #[cfg(feature = "embedded-executor")]
            Executors::Embedded { executor, .. } => {
                executor.drain();
                executor.shutdown().await;
            }
        }
    }
}
