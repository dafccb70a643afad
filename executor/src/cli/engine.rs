//! The engine's settings, which the executor and the all-in-one server share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use dynamic_mcp_shared::limits::ByteSize;
use ipnet::IpNet;

use crate::isolate::Tier;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExecutionEngine {
    /// Every engine that this machine has
    #[default]
    Auto,
    /// Hardened containers of a Docker Engine, for runtime "node"
    Docker,
    /// A locked-down process for each call, for runtime "isolate"; needs no Docker
    Isolate,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Execution engine")]
pub struct EngineArgs {
    /// What this executor runs code with
    #[arg(
        id = "execution_engine",
        long = "execution-engine",
        env = "MCP_EXECUTION_ENGINE",
        value_enum,
        default_value = "auto"
    )]
    pub engine: ExecutionEngine,

    /// The least that must hold isolates in here: seccomp, landlock (and seccomp), namespaces (and seccomp), full (all)
    #[arg(
        id = "isolate_minimum",
        long = "isolate-minimum",
        env = "MCP_ISOLATE_MINIMUM",
        value_name = "TIER",
        default_value = "seccomp"
    )]
    pub isolate_minimum: Tier,

    /// Memory of one sandbox, swap included, in bytes or with a suffix k, m or g
    #[arg(
        id = "sandbox_memory_limit",
        long = "sandbox-memory-limit",
        env = "MCP_SANDBOX_MEMORY_LIMIT",
        value_name = "SIZE",
        default_value = "512m"
    )]
    pub memory_limit: ByteSize,

    /// Processors of one sandbox; a fraction is allowed
    #[arg(
        id = "sandbox_cpu_limit",
        long = "sandbox-cpu-limit",
        env = "MCP_SANDBOX_CPU_LIMIT",
        value_name = "CPUS",
        default_value = "1"
    )]
    pub cpu_limit: CpuLimit,

    /// Processes and threads of one sandbox; Node.js itself needs about 12
    #[arg(
        id = "sandbox_pids_limit",
        long = "sandbox-pids-limit",
        env = "MCP_SANDBOX_PIDS_LIMIT",
        value_name = "COUNT",
        default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(32..=32_768)
    )]
    pub pids_limit: u32,

    /// Size of a sandbox's /tmp, which counts as its memory
    #[arg(
        id = "sandbox_tmp_bytes",
        long = "sandbox-tmp-bytes",
        env = "MCP_SANDBOX_TMP_BYTES",
        value_name = "SIZE",
        default_value = "64m"
    )]
    pub tmp_bytes: ByteSize,

    /// Size of a sandbox's /workspace, which counts as its memory
    #[arg(
        id = "sandbox_workspace_bytes",
        long = "sandbox-workspace-bytes",
        env = "MCP_SANDBOX_WORKSPACE_BYTES",
        value_name = "SIZE",
        default_value = "128m"
    )]
    pub workspace_bytes: ByteSize,

    /// OCI runtime that the Docker Engine starts sandboxes with (runc, crun, runsc, …); its own default if not set
    #[arg(
        id = "sandbox_runtime",
        long = "sandbox-runtime",
        env = "MCP_SANDBOX_RUNTIME",
        value_name = "NAME",
        value_parser = parse_runtime
    )]
    pub runtime: Option<String>,

    /// PEM file of the certificate authorities that package installation trusts beside Node.js's own
    #[arg(
        id = "sandbox_ca_bundle",
        long = "sandbox-ca-bundle",
        env = "MCP_SANDBOX_CA_BUNDLE",
        value_name = "FILE"
    )]
    pub ca_bundle: Option<PathBuf>,

    /// npm registry that dependencies come from; npm's own setting in the image if not set
    #[arg(
        id = "sandbox_npm_registry",
        long = "sandbox-npm-registry",
        env = "MCP_SANDBOX_NPM_REGISTRY",
        value_name = "URL",
        value_parser = parse_registry
    )]
    pub npm_registry: Option<String>,

    /// Private networks in which that registry may be, as 10.1.0.0/16, separated by commas; elsewhere only public addresses are dialled
    #[arg(
        id = "sandbox_npm_registry_networks",
        long = "sandbox-npm-registry-networks",
        env = "MCP_SANDBOX_NPM_REGISTRY_NETWORKS",
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = parse_network
    )]
    pub npm_registry_networks: Vec<IpNet>,

    /// Sandboxes that wait with Node.js already booted, at least
    #[arg(
        id = "sandbox_pool_min",
        long = "sandbox-pool-min",
        env = "MCP_SANDBOX_POOL_MIN",
        value_name = "COUNT",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub pool_min: u32,

    /// Sandboxes that wait with Node.js already booted, at most; each takes about 10 MB
    #[arg(
        id = "sandbox_pool_max",
        long = "sandbox-pool-max",
        env = "MCP_SANDBOX_POOL_MAX",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub pool_max: u32,

    /// Jobs that run at once
    #[arg(
        id = "sandbox_slots",
        long = "sandbox-slots",
        env = "MCP_SANDBOX_SLOTS",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub slots: u32,

    /// Calls after which a tool's kept sandbox is replaced
    #[arg(
        id = "sandbox_kept_max_uses",
        long = "sandbox-kept-max-uses",
        env = "MCP_SANDBOX_KEPT_MAX_USES",
        value_name = "COUNT",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub kept_max_uses: u32,

    /// Seconds without a call after which a tool's kept sandbox is removed
    #[arg(
        id = "sandbox_kept_idle_seconds",
        long = "sandbox-kept-idle-seconds",
        env = "MCP_SANDBOX_KEPT_IDLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub kept_idle_seconds: u32,

    /// Sandbox sessions that are open at once; each is a container that stays. 0: none
    #[arg(
        id = "sandbox_session_slots",
        long = "sandbox-session-slots",
        env = "MCP_SANDBOX_SESSION_SLOTS",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(0..=1_000)
    )]
    pub session_slots: u32,

    /// The Docker Engine: unix:///path/to/socket, or http://host:port where the network is trusted
    #[arg(
        id = "docker_host",
        long = "docker-host",
        env = "DOCKER_HOST",
        value_name = "URL",
        default_value = "unix:///var/run/docker.sock",
        value_parser = parse_docker_host
    )]
    pub docker_host: String,

    /// Directory of the executor's identity; $XDG_STATE_HOME/dynamic-mcp or ~/.local/state/dynamic-mcp if not set
    #[arg(
        id = "executor_state_dir",
        long = "executor-state-dir",
        env = "MCP_EXECUTOR_STATE_DIR",
        value_name = "DIR"
    )]
    pub state_dir: Option<PathBuf>,
}

/// Processors, kept as the Docker Engine counts them: in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuLimit {
    pub nanos: u64,
}

impl FromStr for CpuLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || "a number of processors from 0.1 to 1024, such as 1 or 0.5".to_owned();
        let cpus: f64 = text.trim().parse().map_err(|_| allowed())?;
        if !(0.1..=1024.0).contains(&cpus) {
            return Err(allowed());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked above"
        )]
        let nanos = (cpus * 1e9).round() as u64;
        Ok(Self { nanos })
    }
}

fn parse_runtime(text: &str) -> Result<String, String> {
    let ok = (1..=100).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    ok.then(|| text.to_owned()).ok_or_else(|| {
        "a runtime's name as the Docker Engine knows it: letters, digits, '-', '_', '.'".to_owned()
    })
}

/// Without credentials: the address stands in locks, which anybody who may read a tool can see.
fn parse_registry(text: &str) -> Result<String, String> {
    let allowed = || "an http or https URL without credentials, query or fragment".to_owned();
    let url: http::Uri = text.parse().map_err(|_| allowed())?;
    let scheme = url.scheme_str();
    let host = url
        .authority()
        .filter(|authority| !authority.as_str().contains('@'));
    if !matches!(scheme, Some("http" | "https")) || host.is_none() || text.contains(['?', '#']) {
        return Err(allowed());
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "an address or a network such as 10.1.0.0/16 or fd12:3456::/32".to_owned())
}

fn parse_docker_host(text: &str) -> Result<String, String> {
    let known = ["unix:///", "http://", "tcp://"];
    if known
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
    {
        return Ok(text.to_owned());
    }
    Err("unix:///path/to/socket or http://host:port; TLS, ssh and named pipes are not supported".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_may_be_a_fraction() {
        assert_eq!("0.5".parse(), Ok(CpuLimit { nanos: 500_000_000 }));
        for wrong in ["0", "-1", "nan", "inf", "2000", "one"] {
            assert!(wrong.parse::<CpuLimit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_registry_with_credentials_is_refused() {
        assert_eq!(
            parse_registry("http://npm.internal:4873/team"),
            Ok("http://npm.internal:4873/team/".to_owned())
        );
        for wrong in [
            "https://user:secret@npm.internal/",
            "ftp://npm.internal/",
            "npm.internal",
            "https://npm.internal/?token=1",
        ] {
            assert!(parse_registry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        assert_eq!(parse_network("10.1.0.0/16").unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(parse_network("::1").unwrap().to_string(), "::1/128");
        for wrong in ["", "10.1", "10.0.0.0/33", "npm.internal"] {
            assert!(parse_network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_engine_that_cannot_be_reached_is_refused_at_once() {
        assert!(parse_docker_host("unix:///run/docker.sock").is_ok());
        for wrong in [
            "ssh://host",
            "https://host:2376",
            "/var/run/docker.sock",
            "unix://",
        ] {
            assert!(parse_docker_host(wrong).is_err(), "{wrong}");
        }
    }
}
