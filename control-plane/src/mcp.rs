//! The edge that speaks MCP, both eras of it, over HTTP and stdio. It translates a request, calls one use case and
//! translates what that says. What a tool may be, who may write one and how a job runs is decided elsewhere.

mod arguments;
mod builtin;
mod changes;
mod completion;
mod dynamic;
mod feedback;
pub mod http;
mod listen;
mod listing;
mod logging;
mod pages;
mod pin;
mod prompts;
mod refused;
mod request;
mod resources;
mod result;
mod rights;
mod server;
pub mod session;
pub mod stdio;

use std::sync::Arc;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::readiness::Readiness;
use serde_json::Value;
use tokio::time::Instant;

pub use self::builtin::NAMES as BUILTIN_NAMES;
pub use self::server::DynamicMcp;
use crate::audit::{Audit, Trail};
use crate::catalog::Catalog;
use crate::fleet_admin::FleetAdmin;
use crate::guard::Guard;
use crate::jobs::Jobs;
use crate::registry::cache::ToolCache;
use crate::runtimes::Runtimes;
use crate::tenant::Tenants;

pub const SERVICE: &str = "dynamic-mcp";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of the tools that the server brings itself; no other tool may have one of them.
pub fn builtin_names() -> &'static [&'static str] {
    &builtin::NAMES
}

/// What the edge calls.
pub struct McpDeps {
    pub catalog: Arc<Catalog>,
    pub tenants: Arc<Tenants>,
    pub cache: Arc<ToolCache>,
    pub trail: Trail,
    pub jobs: Arc<Jobs>,
    pub runtimes: Arc<Runtimes>,
    pub guard: Arc<dyn Guard>,
    pub fleet: FleetAdmin,
    pub audit: Audit,
    pub readiness: Readiness,
    /// The configuration without its secrets.
    pub runtime_config: Value,
    pub profile: Profile,
    /// When the process started.
    pub started: Instant,
    pub clock: Arc<dyn Clock>,
}

impl McpDeps {
    /// What `system.runtime_config` shows: the configuration, and what there is to run code on.
    fn shown_config(&self) -> Value {
        let mut config = self.runtime_config.clone();
        config["runtimes"] = self.runtimes.report();
        config
    }
}

/// How much of the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    #[default]
    Enterprise,
    /// Without the tools about the server itself, the resources and the prompt.
    Mvp,
}
