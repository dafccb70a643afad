//! The composition root: every part is built here, and nowhere else.

mod embedded;
mod engines;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::tls::{self, Trust};
use tokio::net::TcpListener;

use crate::cli::EngineArgs;
use crate::config::{self, Config};
use crate::fleet::{Credentials, FleetClient};
use crate::grpc::Deadlines;
use crate::health;
use crate::identity::Identity;
use crate::node::Node;

pub use embedded::{EmbeddedExecutor, embedded};

/// An executor in a process of its own.
pub struct App {
    node: Arc<Node>,
    local_addr: SocketAddr,
}

impl App {
    /// Binds the configured address and does what [`Self::start_on`] does.
    ///
    /// # Errors
    /// Those of [`Self::start_on`], and when the address can't be bound.
    pub async fn start(config: &Config, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.bind)
            .await
            .with_context(|| format!("MCP_EXECUTOR_BIND: {} can't be bound", config.bind))?;
        Self::start_on(listener, config, lifecycle).await
    }

    /// Takes the identity, starts the engine, serves on `listener` and joins the control plane until the lifecycle
    /// ends.
    ///
    /// # Errors
    /// When the settings contradict each other, or the certificates, the state directory or the listener can't be used.
    /// An engine or a control plane that does not answer is no error: the node says that it is not ready, and goes on
    /// trying.
    pub async fn start_on(
        listener: TcpListener,
        config: &Config,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let local_addr = listener.local_addr().context("the bound address")?;
        let trust = config.tls.clone().map(trust::open).transpose()?;
        let address = address(config, local_addr, trust.as_deref())?;
        let id = trust.as_deref().and_then(trust::executor_id);
        let node = Arc::new(build_node(&config.engine, &config.policy, id, lifecycle).await?);
        if let Some(trust) = &trust {
            trust::keep_current(trust, lifecycle);
        }
        if let Some(file) = &config.join_token_file {
            config.join_token.keep_current(file.clone(), lifecycle);
        }
        let incoming = tls::incoming(listener, trust.clone());
        let stop = node.serve(incoming, &config.join_token, Deadlines::default(), lifecycle);
        health::answer(Arc::clone(&node), lifecycle, stop.clone());
        tracing::info!(
            executor.id = %node.identity().id,
            epoch = node.identity().epoch,
            address = %local_addr,
            slots = node.capacity().slots(),
            encrypted = trust.is_some(),
            "executor started"
        );
        if config.control_plane.is_empty() {
            tracing::warn!("MCP_CONTROL_PLANE_URL is not set: this executor joins no fleet");
        }
        let fleet = FleetClient::new(
            Arc::clone(&node),
            address,
            Credentials {
                join_token: config.join_token.clone(),
                trust,
            },
            lifecycle.clone(),
            stop,
        );
        for url in &config.control_plane {
            fleet.stay_joined(url.clone());
        }
        Ok(Self { node, local_addr })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Waits for the lifecycle's end and removes what the engine made.
    pub async fn stopped(self, lifecycle: &Lifecycle) {
        if !lifecycle.finish().await {
            tracing::warn!("some tasks did not end in time");
        }
        self.node.shutdown_engine().await;
        tracing::info!("executor stopped");
    }
}

/// Where the control plane is told to reach this executor; its certificate is good for that.
fn address(config: &Config, bound: SocketAddr, trust: Option<&Trust>) -> anyhow::Result<String> {
    let scheme = if trust.is_some() { "https" } else { "http" };
    let address = config
        .advertise
        .clone()
        .unwrap_or_else(|| format!("{scheme}://{bound}"));
    if let Some(trust) = trust {
        let url: http::Uri = address.parse().context("MCP_EXECUTOR_ADVERTISE")?;
        trust.must_cover(url.host().unwrap_or_default())?;
    }
    Ok(address)
}

/// `id`: as a certificate says; without one it is the state directory's matter.
async fn build_node(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    id: Option<&ExecutorId>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Node> {
    config::check_engine(args)?;
    let state_dir = config::state_dir(args);
    let identity = match id {
        Some(id) => Identity::claim_as(&state_dir, id)?,
        None => Identity::claim(&state_dir)?,
    };
    let identity = Arc::new(identity);
    let engines = engines::engines(args, policy, &identity, lifecycle).await?;
    let sandboxes = config::sandbox_limits(args, policy);
    Ok(Node::new(identity, Arc::new(engines), args.slots, policy.clone()).with_sandboxes(sandboxes))
}
