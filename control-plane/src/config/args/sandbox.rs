//! The settings of sandbox sessions that hold for all executors.

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sandbox sessions")]
pub struct SandboxArgs {
    /// Sandbox sessions that may be open at once, of all tenants and on all executors together
    #[arg(
        long,
        env = "MCP_SANDBOX_MAX_SESSIONS",
        value_name = "COUNT",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(0..=100_000)
    )]
    pub sandbox_max_sessions: u32,

    /// Seconds without use after which a sandbox session ends
    #[arg(
        long,
        env = "MCP_SANDBOX_SESSION_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 1_800,
        value_parser = clap::value_parser!(u32).range(1..=604_800)
    )]
    pub sandbox_session_timeout_seconds: u32,

    /// Seconds after which a sandbox session ends, however much it is used
    #[arg(
        long,
        env = "MCP_SANDBOX_SESSION_MAX_SECONDS",
        value_name = "SECONDS",
        default_value_t = 14_400,
        value_parser = clap::value_parser!(u32).range(1..=604_800)
    )]
    pub sandbox_session_max_seconds: u32,
}
