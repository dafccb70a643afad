//! The product in its two shapes: one process, or a control plane with executors.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::client::{Era, McpClient};
use crate::process::{Process, command};
use crate::state::State;

pub const JOIN_TOKEN: &str = "a-join-token-for-the-tests";
/// Containers cost the Engine more than anything else here, and few tests need more of them than this.
pub const SMALL_POOL: [(&str, &str); 2] = [("MCP_SANDBOX_POOL_MIN", "1"), ("MCP_SANDBOX_POOL_MAX", "2")];
/// For a test that runs no code.
pub const NO_POOL: [(&str, &str); 2] = [("MCP_SANDBOX_POOL_MIN", "0"), ("MCP_SANDBOX_POOL_MAX", "0")];
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// `dynamic-mcp` with its embedded executor, over HTTP on a free port, with a state directory of its own.
pub struct AllInOne {
    pub process: Process,
    pub base_url: String,
    state: State,
}

/// A control plane that waits for executors.
pub struct ControlPlane {
    pub process: Process,
    pub base_url: String,
    pub fleet_url: String,
    state: State,
}

pub struct Executor {
    pub process: Process,
    state: State,
}

impl AllInOne {
    /// # Errors
    /// When it does not start.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let server = Self::start_in(State::new()?, settings).await?;
        ready(&server.base_url).await?;
        Ok(server)
    }

    /// With the state of a predecessor, and without waiting until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_in(state: State, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(state, settings, &[]).await
    }

    /// The same with flags.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(state: State, settings: &[(&str, &str)], flags: &[&str]) -> Result<Self> {
        let mut command = command("dynamic-mcp")?;
        command
            .current_dir(state.path())
            .env("MCP_TRANSPORT", "http")
            .env("MCP_PORT", "0");
        command
            .env("MCP_STATE_DIR", state.path())
            .env("MCP_EXECUTOR_STATE_DIR", state.path().join("executor"));
        command
            .envs(SMALL_POOL)
            .envs(settings.iter().copied())
            .args(flags);
        let mut process = Process::spawn("dynamic-mcp", command)?;
        let base_url = base_url(&mut process).await?;
        Ok(Self {
            process,
            base_url,
            state,
        })
    }

    /// As a desktop client starts it: it is told of no directory, and finds the user's own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_at_home(home: &State, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = command("dynamic-mcp")?;
        command
            .current_dir(home.path())
            .env("MCP_TRANSPORT", "http")
            .env("MCP_PORT", "0");
        command
            .env("HOME", home.path())
            .env("XDG_STATE_HOME", home.path());
        command.envs(SMALL_POOL).envs(settings.iter().copied());
        let mut process = Process::spawn("dynamic-mcp", command)?;
        let base_url = base_url(&mut process).await?;
        ready(&base_url).await?;
        Ok(Self {
            process,
            base_url,
            state: home.clone(),
        })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// # Errors
    /// When the handshake fails.
    pub async fn client(&self, era: Era) -> Result<McpClient> {
        McpClient::connect(&self.base_url, era).await
    }

    /// Without waiting until it is ready, for a test that runs no code: no container is made.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_without_pool(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(State::new()?, &[&NO_POOL, settings].concat()).await
    }

    /// # Panics
    /// When it does not end by itself, with success.
    pub async fn stop(mut self) {
        assert!(
            self.process.terminate(STOP_DEADLINE).await,
            "did not stop in order:\n{}",
            self.process.log()
        );
    }

    /// Kills it and gives its state to a successor.
    pub async fn kill(mut self) -> State {
        self.process.kill().await;
        self.state
    }
}

impl ControlPlane {
    /// # Errors
    /// When it does not start.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(State::new()?, settings).await
    }

    /// With the state of a predecessor.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_in(state: State, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = command("dynamic-mcp")?;
        command
            .current_dir(state.path())
            .env("MCP_TRANSPORT", "http")
            .env("MCP_PORT", "0");
        command.env("MCP_STATE_DIR", state.path());
        command.env("MCP_FLEET_BIND", "127.0.0.1:0");
        command.envs(join_token(settings));
        command.envs(settings.iter().copied());
        let mut process = Process::spawn("dynamic-mcp", command)?;
        let fleet = process.logged("waiting for executors").await?;
        let scheme = if fleet["encrypted"] == true {
            "https"
        } else {
            "http"
        };
        let fleet_url = format!(
            "{scheme}://{}",
            fleet["address"].as_str().context("the fleet's address")?
        );
        let base_url = base_url(&mut process).await?;
        Ok(Self {
            process,
            base_url,
            fleet_url,
            state,
        })
    }

    /// # Errors
    /// When the handshake fails.
    pub async fn client(&self, era: Era) -> Result<McpClient> {
        McpClient::connect(&self.base_url, era).await
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it does not within the limit.
    pub async fn ready(&self) -> Result<()> {
        ready(&self.base_url).await
    }

    /// # Panics
    /// When it does not end by itself, with success.
    pub async fn stop(mut self) {
        assert!(
            self.process.terminate(STOP_DEADLINE).await,
            "did not stop in order:\n{}",
            self.process.log()
        );
    }

    /// Kills it and gives its state to a successor.
    pub async fn kill(mut self) -> State {
        self.process.kill().await;
        self.state
    }
}

impl Executor {
    /// Joins the control plane; returns when it is in.
    ///
    /// # Errors
    /// When it does not start or join.
    pub async fn start(control: &ControlPlane, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(State::new()?, control, settings).await
    }

    /// With the state of a predecessor.
    ///
    /// # Errors
    /// When it does not start or join.
    pub async fn start_in(state: State, control: &ControlPlane, settings: &[(&str, &str)]) -> Result<Self> {
        let mut executor = Self::begin_in(state, control, settings)?;
        executor.process.logged("joined the control plane").await?;
        Ok(executor)
    }

    /// The same without waiting for it to join.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn begin_in(state: State, control: &ControlPlane, settings: &[(&str, &str)]) -> Result<Self> {
        Self::begin_at(state, &control.fleet_url, settings)
    }

    /// The same with the control plane's addresses, separated by commas, whether or not anything is there yet.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn begin_at(state: State, control_plane: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = command("dynamic-mcp-executor")?;
        command
            .current_dir(state.path())
            .env("MCP_EXECUTOR_STATE_DIR", state.path());
        command
            .env("MCP_EXECUTOR_BIND", "127.0.0.1:0")
            .env("MCP_CONTROL_PLANE_URL", control_plane);
        command.envs(join_token(settings));
        command.envs(settings.iter().copied());
        let process = Process::spawn("dynamic-mcp-executor", command)?;
        Ok(Self { process, state })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// # Panics
    /// When it does not end by itself, with success.
    pub async fn stop(mut self) {
        assert!(
            self.process.terminate(STOP_DEADLINE).await,
            "did not stop in order:\n{}",
            self.process.log()
        );
    }

    /// Kills it and gives its state to a successor.
    pub async fn kill(mut self) -> State {
        self.process.kill().await;
        self.state
    }
}

/// With certificates, and with a file for the token, a test says itself whether there is one.
fn join_token(settings: &[(&str, &str)]) -> Option<(&'static str, &'static str)> {
    let settled = |(name, _): &(&str, &str)| ["MCP_TLS_CERT_FILE", "MCP_JOIN_TOKEN_FILE"].contains(name);
    (!settings.iter().any(settled)).then_some(("MCP_JOIN_TOKEN", JOIN_TOKEN))
}

async fn base_url(process: &mut Process) -> Result<String> {
    let line = process.logged("listening").await?;
    Ok(format!(
        "http://{}",
        line["address"]
            .as_str()
            .context("the address that it listens on")?
    ))
}

/// Waits for `/readyz` and a first warm container.
async fn ready(base_url: &str) -> Result<()> {
    let http = reqwest::Client::new();
    for _ in 0..600 {
        if let Ok(response) = http.get(format!("{base_url}/readyz")).send().await
            && response.status().is_success()
            && response
                .json::<Value>()
                .await
                .is_ok_and(|report| report["status"] == "ready")
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{base_url} was not ready within 30 s")
}
