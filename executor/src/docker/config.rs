//! What an operator may set about the sandboxes of one executor. The defaults are the contract's.

use std::path::PathBuf;

use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::policy::SandboxPolicy;
use ipnet::IpNet;

pub use crate::kept::KeptConfig;

#[derive(Debug, Clone, PartialEq)]
pub struct DockerConfig {
    /// A socket's path, `unix://…` or `tcp://…`; `None` is the local Engine.
    pub host: Option<String>,
    /// The OCI runtime by its name in the Engine's configuration; `None` is the Engine's default.
    pub runtime: Option<String>,
    /// Of one container, swap included.
    pub memory: ByteSize,
    /// Of one container, in cores.
    pub cpus: f64,
    /// Most processes and threads in one container. Node.js alone has about a dozen.
    pub pids: i64,
    pub tmp: ByteSize,
    pub workspace: ByteSize,
    pub policy: SandboxPolicy,
    /// Certificates that package installs trust besides the image's own, in PEM.
    pub ca_bundle: Option<PathBuf>,
    /// `None` is what npm in the image is configured for.
    pub npm_registry: Option<String>,
    /// Private networks in which the registry may be.
    pub npm_registry_networks: Vec<IpNet>,
    /// Jobs at once. Whoever calls the engine keeps to it; the engine sizes its containers by it.
    pub slots: u32,
    pub pool: PoolConfig,
    pub kept: KeptConfig,
}

/// Containers that wait for a call, for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    pub floor: u32,
    pub ceiling: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    #[error(
        "/tmp ({tmp}) and /workspace ({workspace}) together must stay below the memory limit ({memory}): what is written there counts as memory"
    )]
    TmpfsOverMemory {
        tmp: ByteSize,
        workspace: ByteSize,
        memory: ByteSize,
    },
    #[error("a sandbox needs at least 64m of memory, got {0}")]
    Memory(ByteSize),
    #[error("the CPU limit must be between 0.1 and 1024, got {0}")]
    Cpus(String),
    #[error("a sandbox needs at least 32 processes for Node.js itself, got {0}")]
    Pids(i64),
    #[error("the pool's floor ({floor}) must not be above its ceiling ({ceiling})")]
    Pool { floor: u32, ceiling: u32 },
    #[error("at least one {0} is needed, got 0")]
    Zero(&'static str),
}

impl DockerConfig {
    /// # Errors
    /// The first setting that can't work, or contradicts another one.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if self.memory.0 < 64 << 20 {
            return Err(InvalidConfig::Memory(self.memory));
        }
        if self.tmp.0.saturating_add(self.workspace.0) >= self.memory.0 {
            return Err(InvalidConfig::TmpfsOverMemory {
                tmp: self.tmp,
                workspace: self.workspace,
                memory: self.memory,
            });
        }
        if !(0.1..=1024.0).contains(&self.cpus) {
            return Err(InvalidConfig::Cpus(self.cpus.to_string()));
        }
        if self.pids < 32 {
            return Err(InvalidConfig::Pids(self.pids));
        }
        let PoolConfig { floor, ceiling } = self.pool;
        if floor > ceiling {
            return Err(InvalidConfig::Pool { floor, ceiling });
        }
        if self.slots == 0 {
            return Err(InvalidConfig::Zero("slot"));
        }
        if self.kept.max_uses == 0 {
            return Err(InvalidConfig::Zero("call per kept container"));
        }
        Ok(())
    }
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            host: None,
            runtime: None,
            memory: ByteSize(512 << 20),
            cpus: 1.0,
            pids: 128,
            tmp: ByteSize(64 << 20),
            workspace: ByteSize(128 << 20),
            policy: SandboxPolicy::default(),
            ca_bundle: None,
            npm_registry: None,
            npm_registry_networks: Vec::new(),
            slots: 16,
            pool: PoolConfig::default(),
            kept: KeptConfig::default(),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            floor: 4,
            ceiling: 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(DockerConfig::default().check(), Ok(()));
    }

    #[test]
    fn file_systems_that_could_eat_the_memory_are_refused() {
        let config = DockerConfig {
            tmp: ByteSize(256 << 20),
            workspace: ByteSize(256 << 20),
            ..DockerConfig::default()
        };
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "/tmp (256m) and /workspace (256m) together must stay below the memory limit (512m): what is written \
             there counts as memory"
        );
    }
}
