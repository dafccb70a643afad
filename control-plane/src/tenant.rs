//! What a tenant may have and use: what the operator set for it, and the deployment's defaults for the rest.

mod admin;
mod settings;

use std::sync::Arc;

use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::policy::{NarrowedPolicy, SandboxPolicy};
use serde::Serialize;

pub use self::admin::{About, Shown, Tenants, TenantsError};
pub use self::settings::{InvalidSettings, SettingsPatch, TenantSettings};

/// What holds for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantLimits {
    /// Tools of its own.
    pub max_tools: u32,
    /// Executions at once; the deployment's own bound holds besides.
    pub max_concurrency: u32,
    /// Executions that may begin within the guard's window, of all its tools together. `None`: as many as each tool may.
    pub max_calls_per_window: Option<u32>,
    /// How many of the slots that several tenants wait for go to it, against the weight of the others; 1 to 100.
    pub weight: u32,
    /// Open sessions of clients of the 2025 era.
    pub max_sessions: u32,
    /// Sandbox sessions that may be open; the deployment's own bound holds besides.
    pub max_sandboxes: u32,
    /// Memory of one call in MiB. `None`: as much as the executor gives each.
    pub max_memory_mb: Option<u32>,
}

impl TenantLimits {
    /// The memory of one call, where it is less than what the executor gives.
    pub fn memory(&self) -> Option<ByteSize> {
        self.max_memory_mb.map(|mb| ByteSize(u64::from(mb) << 20))
    }
}

/// What holds where nothing is set.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantDefaults {
    pub limits: TenantLimits,
    /// The deployment's, which a tenant's can only narrow.
    pub policy: Arc<SandboxPolicy>,
}

/// What the operator stored for a tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantRecord {
    pub settings: TenantSettings,
    /// Counts the writes of it; 0 before the first.
    pub revision: u64,
}

/// A tenant as calls and writes see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    pub record: TenantRecord,
    pub limits: TenantLimits,
    /// What its tools are under.
    pub policy: Arc<NarrowedPolicy>,
}

impl Tenant {
    pub fn new(record: TenantRecord, defaults: &TenantDefaults) -> Self {
        let policy = NarrowedPolicy::new(defaults.policy.clone(), record.settings.policy.clone());
        Self {
            limits: record.settings.over(&defaults.limits),
            policy: Arc::new(policy),
            record,
        }
    }
}
