//! The settings of the registry of tools and of who may write to it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use crate::config::secret::parse_secret;
use crate::registry::RuntimeChoice;
use dynamic_mcp_shared::switch::parse_switch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    /// One SQLite file, for one machine
    File,
    /// Postgres, for several replicas
    Postgres,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tools")]
pub struct RegistryArgs {
    /// Where tools are kept
    #[arg(long, env = "MCP_DYNAMIC_BACKEND", value_enum, default_value = "file")]
    pub dynamic_backend: BackendKind,

    /// File of the file backend; tools.sqlite in the state directory if not set
    #[arg(long, env = "MCP_DYNAMIC_STORE", value_name = "FILE")]
    pub dynamic_store: Option<PathBuf>,

    /// Database of the postgres backend: postgres://user:password@host/database
    #[arg(
        long,
        env = "MCP_DYNAMIC_PG_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = parse_secret,
        conflicts_with = "dynamic_pg_url_file"
    )]
    pub dynamic_pg_url: Option<SecretString>,

    /// File that holds the URL of the database
    #[arg(long, env = "MCP_DYNAMIC_PG_URL_FILE", value_name = "FILE")]
    pub dynamic_pg_url_file: Option<PathBuf>,

    /// Schema of the postgres backend
    #[arg(
        long,
        env = "MCP_DYNAMIC_PG_SCHEMA",
        value_name = "NAME",
        default_value = "dynamic_mcp",
        value_parser = parse_schema
    )]
    pub dynamic_pg_schema: String,

    /// How often start-up tries to reach the database
    #[arg(
        long,
        env = "MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS",
        value_name = "COUNT",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub dynamic_pg_init_max_attempts: u32,

    /// Milliseconds before the second attempt; later ones wait longer
    #[arg(
        long,
        env = "MCP_DYNAMIC_PG_INIT_BACKOFF_MS",
        value_name = "MS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    pub dynamic_pg_init_backoff_ms: u64,

    /// Tools that a tenant may have; system.tenant.set changes it for one
    #[arg(
        long,
        env = "MCP_DYNAMIC_MAX_TOOLS",
        value_name = "COUNT",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub dynamic_max_tools: u32,

    /// What tools and ephemeral runs get that ask for no runtime: node, isolate or auto (as the code asks); if not set, node
    /// where an executor has Docker and isolate elsewhere. With image or dependencies it is node
    #[arg(long, env = "MCP_DEFAULT_RUNTIME", value_name = "RUNTIME", value_parser = parse_runtime)]
    pub default_runtime: Option<RuntimeChoice>,

    /// Refuse every change of a tool
    #[arg(
        long,
        env = "MCP_DYNAMIC_READ_ONLY",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub dynamic_read_only: bool,

    /// Refuse to start without an admin token
    #[arg(
        long,
        env = "MCP_REQUIRE_ADMIN_TOKEN",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub require_admin_token: bool,

    /// Secret that dynamic.tool.* and sandbox.* then ask for as adminToken; prefer the file, a flag is visible to other users
    #[arg(
        long,
        env = "MCP_ADMIN_TOKEN",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = parse_secret,
        conflicts_with = "admin_token_file"
    )]
    pub admin_token: Option<SecretString>,

    /// File that holds the admin token
    #[arg(long, env = "MCP_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

fn parse_runtime(text: &str) -> Result<RuntimeChoice, String> {
    match text {
        "node" => Ok(RuntimeChoice::Node),
        "isolate" => Ok(RuntimeChoice::Isolate),
        "auto" => Ok(RuntimeChoice::Auto),
        _ => Err("node, isolate or auto".to_owned()),
    }
}

/// A plain identifier, since it stands in the names of channels too.
fn parse_schema(text: &str) -> Result<String, String> {
    let ok = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !text.starts_with("pg_");
    ok.then(|| text.to_owned()).ok_or_else(|| {
        "1 to 63 lower-case letters, digits and '_', the first no digit, not beginning with pg_".to_owned()
    })
}
