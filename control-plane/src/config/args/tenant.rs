//! What a tenant may have for which `system.tenant.set` set nothing.

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantArgs {
    /// Executions of one tenant that may run at once; as many as all together if not set
    #[arg(
        long,
        env = "MCP_TENANT_MAX_CONCURRENCY",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub tenant_max_concurrency: Option<u32>,

    /// Calls of one tenant that may begin within a window, of all its tools together; not limited if not set
    #[arg(
        long,
        env = "MCP_TENANT_MAX_CALLS_PER_WINDOW",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000)
    )]
    pub tenant_max_calls_per_window: Option<u32>,

    /// Part of the execution slots that several tenants wait for, against the weights of the others, 1 to 100
    #[arg(
        long,
        env = "MCP_TENANT_WEIGHT",
        value_name = "WEIGHT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub tenant_weight: u32,

    /// Open sessions of clients of the 2025 era that one tenant may have
    #[arg(
        long,
        env = "MCP_TENANT_MAX_SESSIONS",
        value_name = "COUNT",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub tenant_max_sessions: u32,

    /// Sandbox sessions of one tenant that may be open; as many as all together if not set
    #[arg(
        long,
        env = "MCP_TENANT_MAX_SANDBOXES",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(0..=100_000)
    )]
    pub tenant_max_sandboxes: Option<u32>,

    /// MiB of memory of one call, where that is to be less than MCP_SANDBOX_MEMORY_LIMIT of the executors
    #[arg(
        long,
        env = "MCP_TENANT_MAX_MEMORY_MB",
        value_name = "MIB",
        value_parser = clap::value_parser!(u32).range(64..=1_048_576)
    )]
    pub tenant_max_memory_mb: Option<u32>,
}
