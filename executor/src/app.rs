//! The composition root: every part is built here, and nowhere else.

mod embedded;
mod engines;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

use crate::cli::EngineArgs;
use crate::config::{self, Config};
use crate::fleet::FleetClient;
use crate::grpc::Deadlines;
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
    /// When the settings contradict each other, or the state directory or the listener can't be used. An engine or a
    /// control plane that does not answer is no error: the node says that it is not ready, and goes on trying.
    pub async fn start_on(
        listener: TcpListener,
        config: &Config,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let node = Arc::new(build_node(&config.engine, &config.policy, lifecycle).await?);
        Self::serve(node, listener, config, lifecycle)
    }

    /// The same over a node that is there already.
    ///
    /// # Errors
    /// When the listener can't be used.
    pub fn serve(
        node: Arc<Node>,
        listener: TcpListener,
        config: &Config,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let local_addr = listener.local_addr().context("the bound address")?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stop = node.serve(incoming, &config.join_token, Deadlines::default(), lifecycle);
        tracing::info!(
            executor.id = %node.identity().id,
            epoch = node.identity().epoch,
            address = %local_addr,
            slots = node.capacity().slots(),
            "executor started"
        );
        if config.control_plane.is_empty() {
            tracing::warn!("MCP_CONTROL_PLANE_URL is not set: this executor joins no fleet");
        }
        let address = config
            .advertise
            .clone()
            .unwrap_or_else(|| format!("http://{local_addr}"));
        let fleet = FleetClient::new(
            Arc::clone(&node),
            address,
            config.join_token.clone(),
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

async fn build_node(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Node> {
    config::check_engine(args)?;
    let identity = Arc::new(Identity::claim(&config::state_dir(args))?);
    let engines = engines::engines(args, policy, &identity, lifecycle).await?;
    Ok(Node::new(identity, Arc::new(engines), args.slots, policy.clone()))
}
