//! What an operator may set about isolates.

use std::path::PathBuf;
use std::time::Duration;

use dynamic_mcp_isolate::walls::Tier;
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::policy::SandboxPolicy;

use crate::kept::KeptConfig;

#[derive(Debug, Clone, PartialEq)]
pub struct IsolateConfig {
    /// What is executed to be a zygote: a program whose first act is `dynamic_mcp_isolate::enter()`.
    pub program: PathBuf,
    /// Of the engine's heap in one child.
    pub memory: ByteSize,
    /// Jobs at once. Whoever calls the engine keeps to it.
    pub slots: u32,
    /// Children that wait for a call.
    pub spares: u32,
    /// Below it nothing is run.
    pub minimum: Tier,
    pub kept: KeptConfig,
    pub renewal: RenewalConfig,
    pub policy: SandboxPolicy,
}

/// When a zygote is replaced: the children of one share their memory's layout and their hash keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalConfig {
    pub after_children: u64,
    pub after: Duration,
}

impl Default for IsolateConfig {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            memory: ByteSize(128 << 20),
            slots: 16,
            spares: 3,
            minimum: Tier::Seccomp,
            kept: KeptConfig::default(),
            renewal: RenewalConfig::default(),
            policy: SandboxPolicy::default(),
        }
    }
}

impl Default for RenewalConfig {
    fn default() -> Self {
        Self {
            after_children: 20_000,
            after: Duration::from_secs(600),
        }
    }
}
