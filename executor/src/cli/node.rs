//! The settings of an executor that is a process of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use dynamic_mcp_shared::telemetry::LogFormat;
use secrecy::SecretString;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Where the control plane reaches this executor
    #[arg(
        id = "executor_bind",
        long = "executor-bind",
        env = "MCP_EXECUTOR_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8790"
    )]
    pub bind: SocketAddr,

    /// The same as the control plane must dial it: https://host:port, or http:// without certificates; made from the bind
    /// address if not set
    #[arg(
        id = "executor_advertise",
        long = "executor-advertise",
        env = "MCP_EXECUTOR_ADVERTISE",
        value_name = "URL",
        value_parser = parse_url
    )]
    pub advertise: Option<String>,

    /// Fleet service of the control plane: https://host:port, or http:// without certificates; several replicas separated
    /// by commas are all joined
    #[arg(
        id = "control_plane_url",
        long = "control-plane-url",
        env = "MCP_CONTROL_PLANE_URL",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = parse_url
    )]
    pub control_plane: Vec<String>,

    /// Secret that both planes share, at least 16 characters, or several while it is rotated; prefer the file, a flag is
    /// visible to other users
    #[arg(
        id = "join_token",
        long = "join-token",
        env = "MCP_JOIN_TOKEN",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = parse_secret,
        conflicts_with = "join_token_file"
    )]
    pub join_token: Option<SecretString>,

    /// File that holds the join token, or several, one a line; changes are noticed
    #[arg(
        id = "join_token_file",
        long = "join-token-file",
        env = "MCP_JOIN_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub join_token_file: Option<PathBuf>,

    /// Seconds that running jobs get to finish after the first SIGTERM or SIGINT
    #[arg(
        id = "shutdown_grace_seconds",
        long = "shutdown-grace-seconds",
        env = "MCP_SHUTDOWN_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=3_600)
    )]
    pub shutdown_grace_seconds: u32,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetryArgs {
    /// Log filter: a level, or target=level pairs separated by commas
    #[arg(
        id = "log",
        long = "log",
        env = "MCP_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,

    /// text, json, or auto: text on a terminal and JSON elsewhere
    #[arg(
        id = "log_format",
        long = "log-format",
        env = "MCP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto",
        value_parser = parse_log_format
    )]
    pub log_format: LogFormat,

    /// OTLP/gRPC collector that spans are sent to: http://host:4317
    #[arg(
        id = "otel_exporter_otlp_endpoint",
        long = "otel-exporter-otlp-endpoint",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL"
    )]
    pub otlp_endpoint: Option<String>,
}

fn parse_secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("auto, text or json".to_owned()),
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let plain = text.parse::<http::Uri>().is_ok_and(|url| {
        let of_grpc = matches!(url.scheme_str(), Some("https" | "http"));
        of_grpc && url.host().is_some_and(|host| !host.is_empty())
    });
    plain
        .then(|| text.to_owned())
        .ok_or_else(|| "a URL of the form https://host:port".to_owned())
}
