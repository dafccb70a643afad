//! The command line and the environment, as typed in: one struct for each group of settings.

mod auth;
mod http;
mod redis;
mod registry;
mod sandbox;
mod tenant;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dynamic_mcp_shared::switch::parse_switch;
use dynamic_mcp_shared::telemetry::LogFormat;
use secrecy::SecretString;

pub use self::auth::{AuthArgs, AuthMode};
pub use self::http::HttpArgs;
pub use self::redis::RedisArgs;
pub use self::registry::{BackendKind, RegistryArgs};
pub use self::sandbox::SandboxArgs;
pub use self::tenant::TenantArgs;
use super::secret::parse_secret;
use crate::audit::OnLoss;
use crate::guard::OnStoreLoss;
use crate::mcp::Profile;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// MCP on standard input and output, for one client that starts this process
    Stdio,
    /// MCP over HTTP, for many clients
    Http,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// How clients connect
    #[arg(long, env = "MCP_TRANSPORT", value_enum, default_value = "stdio")]
    pub transport: Transport,

    /// enterprise: everything; mvp: without sandbox.*, the tools about the server, the resources and the prompt
    #[arg(long, env = "MCP_PROFILE", default_value = "enterprise", value_parser = parse_profile)]
    pub profile: Profile,

    /// Directory of the tools and the audit log; $XDG_STATE_HOME/dynamic-mcp or ~/.local/state/dynamic-mcp if not set
    #[arg(long, env = "MCP_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Seconds that running calls get to finish after the first SIGTERM or SIGINT
    #[arg(
        long,
        env = "MCP_SHUTDOWN_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=3_600)
    )]
    pub shutdown_grace_seconds: u32,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guard")]
pub struct GuardArgs {
    /// Executions that may run at once
    #[arg(
        long,
        env = "MCP_TOOL_MAX_CONCURRENCY",
        value_name = "COUNT",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub tool_max_concurrency: u32,

    /// Calls of one tool that may begin within a window
    #[arg(
        long,
        env = "MCP_TOOL_MAX_CALLS_PER_WINDOW",
        value_name = "COUNT",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub tool_max_calls_per_window: u32,

    /// Length of that window, which slides, in milliseconds
    #[arg(
        long,
        env = "MCP_TOOL_RATE_WINDOW_MS",
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(100..=86_400_000)
    )]
    pub tool_rate_window_ms: u64,

    /// Milliseconds that a call waits for one of the executions to end before it is refused; 0 refuses at once
    #[arg(
        long,
        env = "MCP_TOOL_QUEUE_WAIT_MS",
        value_name = "MS",
        default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(0..=120_000)
    )]
    pub tool_queue_wait_ms: u64,

    /// Calls that may wait so at the same time
    #[arg(
        long,
        env = "MCP_TOOL_QUEUE_MAX",
        value_name = "COUNT",
        default_value_t = 1_024,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000)
    )]
    pub tool_queue_max: u32,

    /// What calls do while the Redis is away that replicas share: closed refuses them, local lets each replica enforce its
    /// part of the limits
    #[arg(
        long,
        env = "MCP_GUARD_ON_LOSS",
        value_name = "POLICY",
        default_value = "closed",
        value_parser = parse_on_store_loss
    )]
    pub guard_on_loss: OnStoreLoss,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Audit")]
pub struct AuditArgs {
    /// Whether each action leaves an entry in the audit log
    #[arg(
        long,
        env = "MCP_AUDIT_ENABLED",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub audit_enabled: bool,

    /// File of JSON lines that is appended to; audit.jsonl in the state directory if not set
    #[arg(long, env = "MCP_AUDIT_FILE", value_name = "FILE")]
    pub audit_file: Option<PathBuf>,

    /// File of the key that entries are chained with, 32 bytes at least: openssl rand -hex 32; made as audit.key in the state
    /// directory if not set. Replicas that share a database share it
    #[arg(long, env = "MCP_AUDIT_KEY_FILE", value_name = "FILE")]
    pub audit_key_file: Option<PathBuf>,

    /// What actions do while entries can't be kept: block refuses them before they begin, continue counts what is lost
    #[arg(
        long,
        env = "MCP_AUDIT_ON_LOSS",
        value_name = "POLICY",
        default_value = "continue",
        value_parser = parse_on_loss
    )]
    pub audit_on_loss: OnLoss,

    /// Days that entries stay in the database of the postgres backend; whole months are dropped
    #[arg(
        long,
        env = "MCP_AUDIT_RETENTION_DAYS",
        value_name = "DAYS",
        default_value_t = 400,
        value_parser = clap::value_parser!(u32).range(1..=36_500)
    )]
    pub audit_retention_days: u32,

    /// Longest entry in bytes; the details of a longer one are left out
    #[arg(
        long,
        env = "MCP_AUDIT_MAX_EVENT_BYTES",
        value_name = "BYTES",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(2_000..=1_000_000)
    )]
    pub audit_max_event_bytes: u32,

    /// Size in bytes at which a new file is begun
    #[arg(
        long,
        env = "MCP_AUDIT_MAX_FILE_BYTES",
        value_name = "BYTES",
        default_value_t = 10_000_000,
        value_parser = clap::value_parser!(u64).range(10_000..)
    )]
    pub audit_max_file_bytes: u64,

    /// Files that are kept, with the one being written
    #[arg(
        long,
        env = "MCP_AUDIT_MAX_FILES",
        value_name = "COUNT",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub audit_max_files: u32,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Executors")]
pub struct FleetArgs {
    /// Address on which executors join; if not set, this process runs the code itself
    #[arg(long, env = "MCP_FLEET_BIND", value_name = "ADDRESS")]
    pub fleet_bind: Option<SocketAddr>,

    /// Secret that both planes share, at least 16 characters, or several while it is rotated; prefer the file, a flag is
    /// visible to other users
    #[arg(
        long,
        env = "MCP_JOIN_TOKEN",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = parse_secret,
        conflicts_with = "join_token_file"
    )]
    pub join_token: Option<SecretString>,

    /// File that holds the join token, or several, one a line; changes are noticed
    #[arg(long, env = "MCP_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetryArgs {
    /// Log filter: a level, or target=level pairs separated by commas
    #[arg(long, env = "MCP_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// text, json, or auto: text on a terminal and JSON elsewhere
    #[arg(
        long,
        env = "MCP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto",
        value_parser = parse_log_format
    )]
    pub log_format: LogFormat,

    /// OTLP/gRPC collector that spans are sent to: http://host:4317
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
}

fn parse_profile(text: &str) -> Result<Profile, String> {
    match text {
        "enterprise" => Ok(Profile::Enterprise),
        "mvp" => Ok(Profile::Mvp),
        _ => Err("enterprise or mvp".to_owned()),
    }
}

fn parse_on_loss(text: &str) -> Result<OnLoss, String> {
    match text {
        "block" => Ok(OnLoss::Block),
        "continue" => Ok(OnLoss::Continue),
        _ => Err("block or continue".to_owned()),
    }
}

fn parse_on_store_loss(text: &str) -> Result<OnStoreLoss, String> {
    match text {
        "closed" => Ok(OnStoreLoss::Closed),
        "local" => Ok(OnStoreLoss::Local),
        _ => Err("closed or local".to_owned()),
    }
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("auto, text or json".to_owned()),
    }
}
