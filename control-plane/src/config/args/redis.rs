//! The settings of the Redis that replicas share.

use std::path::PathBuf;

use clap::Args;
use dynamic_mcp_shared::switch::parse_switch;
use secrecy::SecretString;

use crate::config::secret::parse_secret;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis, for several replicas")]
pub struct RedisArgs {
    /// Redis that several replicas share: redis://user:password@host:6379/0, rediss:// with TLS; of a cluster several
    /// addresses, separated by commas. If not set, this replica is alone
    #[arg(
        long,
        env = "MCP_REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = parse_secret,
        conflicts_with = "redis_url_file"
    )]
    pub redis_url: Option<SecretString>,

    /// File that holds that address
    #[arg(long, env = "MCP_REDIS_URL_FILE", value_name = "FILE")]
    pub redis_url_file: Option<PathBuf>,

    /// Whether it is a Redis Cluster
    #[arg(
        long,
        env = "MCP_REDIS_CLUSTER",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub redis_cluster: bool,

    /// Certificates (PEM) that its own must be of, with rediss://; if not set, those that this machine trusts
    #[arg(long, env = "MCP_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// What all keys begin with; replicas of one deployment share it
    #[arg(
        long,
        env = "MCP_REDIS_PREFIX",
        value_name = "PREFIX",
        default_value = "dynamic-mcp",
        value_parser = parse_prefix
    )]
    pub redis_prefix: String,
}

fn parse_prefix(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 letters, digits, '-', '_', '.', ':'".to_owned())
    }
}
