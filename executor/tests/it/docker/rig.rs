//! An executor's engine over Docker: an identity of its own, few containers, and a check that none is left.

use std::ops::Deref;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_executor::docker::DockerEngine;
use dynamic_mcp_executor::docker::client::EngineClient;
use dynamic_mcp_executor::docker::config::{DockerConfig, PoolConfig};
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::job::Runtime;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::ByteSize;

use crate::rig::{MEMORY, Outside, Rig};

const CEILING: u32 = 2;

pub struct DockerRig {
    pub rig: Rig,
    pub identity: Arc<Identity>,
    pub client: Arc<EngineClient>,
}

pub fn small() -> DockerConfig {
    DockerConfig {
        memory: MEMORY,
        tmp: ByteSize(16 << 20),
        workspace: ByteSize(32 << 20),
        pids: 64,
        slots: 4,
        pool: PoolConfig {
            floor: 1,
            ceiling: CEILING,
        },
        ..DockerConfig::default()
    }
}

impl DockerRig {
    pub async fn start() -> Self {
        Self::with(small()).await
    }

    pub async fn with(config: DockerConfig) -> Self {
        let rig = Self::without_waiting(config);
        rig.until_ready().await;
        rig
    }

    pub fn without_waiting(config: DockerConfig) -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::claim(state.path()).unwrap();
        Self::build(config, identity, Some(state))
    }

    /// Of an identity that the test owns; does not wait for the Engine.
    pub fn over(config: DockerConfig, identity: Identity) -> Self {
        Self::build(config, identity, None)
    }

    fn build(config: DockerConfig, identity: Identity, state: Option<tempfile::TempDir>) -> Self {
        let identity = Arc::new(identity);
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let client = Arc::new(EngineClient::new(config.host.as_deref()).unwrap());
        let clock = Arc::new(SystemClock);
        let engine = DockerEngine::connect(config, Arc::clone(&identity), clock, &lifecycle).unwrap();
        let containers = Containers {
            identity: Arc::clone(&identity),
            client: Arc::clone(&client),
            _state: state,
        };
        Self {
            rig: Rig::new(engine, Runtime::Node, Arc::new(containers), lifecycle),
            identity,
            client,
        }
    }

    pub async fn finish(self) {
        self.rig.finish().await;
    }
}

impl Deref for DockerRig {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

struct Containers {
    identity: Arc<Identity>,
    client: Arc<EngineClient>,
    _state: Option<tempfile::TempDir>,
}

#[async_trait]
impl Outside for Containers {
    async fn sandboxes(&self) -> Vec<String> {
        let mine = format!("executor={}", self.identity.id);
        let listed = self.client.list(&[mine]).await.unwrap();
        listed.into_iter().filter_map(|container| container.id).collect()
    }

    fn most_waiting(&self) -> usize {
        CEILING as usize
    }

    async fn kill(&self, sandbox: &str) {
        self.client.kill(sandbox).await.unwrap();
    }
}

impl Drop for Containers {
    /// A test that failed cleans up too.
    fn drop(&mut self) {
        let mine = format!("label=executor={}", self.identity.id);
        let listed = Command::new("docker")
            .args(["ps", "-aq", "--filter", &mine])
            .output();
        let ids = listed.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        for id in ids.unwrap_or_default().split_whitespace() {
            let _ = Command::new("docker").args(["rm", "-f", id]).output();
        }
    }
}
