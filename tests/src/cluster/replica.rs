//! One replica of the control plane, with a link of its own to each database.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::plan::Plan;
use crate::client::{Era, McpClient};
use crate::database::Schema;
use crate::eventually::eventually;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::redis::RedisServer;
use crate::server::ControlPlane;
use crate::state::State;

pub struct Replica {
    pub redis: Proxy,
    pub postgres: Proxy,
    control: Option<ControlPlane>,
    /// Where it listens, or did last.
    addresses: Option<(SocketAddr, SocketAddr)>,
    state: State,
    settings: Vec<(String, String)>,
}

impl Replica {
    pub(super) async fn new(
        redis: &RedisServer,
        postgres: SocketAddr,
        schema: &Schema,
        shared: &[(&str, String)],
        plan: &Plan,
    ) -> Result<Self> {
        let redis_link = Proxy::before(redis.address()).await?;
        let postgres_link = Proxy::before(postgres).await?;
        let own = [
            ("MCP_REDIS_URL", redis.url_by(redis_link.address())),
            ("MCP_DYNAMIC_PG_URL", schema.url_by(postgres_link.address())?),
            ("MCP_DEFAULT_RUNTIME", plan.default_runtime().to_owned()),
        ];
        let mut settings: Vec<_> = own
            .iter()
            .chain(shared)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        settings.extend(plan.replica_settings.iter().cloned());
        Ok(Self {
            redis: redis_link,
            postgres: postgres_link,
            control: None,
            addresses: None,
            state: State::new()?,
            settings,
        })
    }

    pub fn is_up(&self) -> bool {
        self.control.is_some()
    }

    /// # Panics
    /// When it is down.
    pub fn process(&self) -> &Process {
        match &self.control {
            Some(control) => &control.process,
            None => panic!("the replica is down"),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn base_url(&self) -> String {
        let (http, _) = self.addresses.unzip();
        http.map(|address| format!("http://{address}"))
            .unwrap_or_default()
    }

    /// A client of this replica alone.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn client(&self, era: Era) -> Result<McpClient> {
        McpClient::connect(&self.base_url(), era).await
    }

    /// Waits until its `/readyz` says that status, and names that part when it is degraded; answers how long it took.
    pub async fn until(&self, status: &str, degraded: Option<&str>, limit: Duration) -> Duration {
        eventually(limit, async || {
            let (code, report) = self.readyz().await?;
            let named = degraded.is_none_or(|part| report["degraded"][part].is_string());
            ensure!(
                code == 200 && report["status"] == status && named,
                "/readyz is {code} {report}"
            );
            Ok(())
        })
        .await
    }

    /// What its `/readyz` says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn readyz(&self) -> Result<(u16, Value)> {
        let response = reqwest::get(format!("{}/readyz", self.base_url())).await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.addresses.map(|(http, _)| http)
    }

    pub(super) fn fleet_address(&self) -> Option<SocketAddr> {
        self.addresses.map(|(_, fleet)| fleet)
    }

    pub(super) async fn start(&mut self) -> Result<()> {
        ensure!(self.control.is_none(), "the replica is up");
        let settings: Vec<_> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let control = ControlPlane::start_in(self.state.clone(), &settings).await?;
        self.addresses = Some((address_of(&control.base_url)?, address_of(&control.fleet_url)?));
        self.control = Some(control);
        Ok(())
    }

    pub(super) async fn kill(&mut self) {
        if let Some(control) = self.control.take() {
            control.kill().await;
        }
    }

    pub(super) async fn ended(&mut self, limit: Duration) -> Result<()> {
        let Some(mut control) = self.control.take() else {
            return Ok(());
        };
        let status = control.process.ended(limit).await?;
        ensure!(
            status.success(),
            "it ended with {status}:\n{}",
            control.process.log()
        );
        Ok(())
    }

    pub(super) async fn terminate(&mut self) {
        if let Some(control) = self.control.take() {
            control.stop().await;
        }
    }
}

fn address_of(url: &str) -> Result<SocketAddr> {
    let (_, address) = url.split_once("://").context("an address")?;
    Ok(address.parse()?)
}
