//! What the settings mean together. Whatever contradicts something else fails here, at start-up, by its name.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::telemetry::TelemetryConfig;
use dynamic_mcp_shared::tls::{self, TlsFiles};
use secrecy::SecretString;

use crate::cli::{Cli, EngineArgs, NodeArgs, TelemetryArgs};
use crate::docker::config::{DockerConfig, PoolConfig};
use crate::isolate::IsolateConfig;
use crate::kept::KeptConfig;
use crate::sandbox::SandboxLimits;

/// The configuration of an executor that is a process of its own. Its `Debug` form holds no secret.
#[derive(Debug, Clone)]
pub struct Config {
    pub bind: SocketAddr,
    /// `None`: the address that was bound.
    pub advertise: Option<String>,
    pub control_plane: Vec<String>,
    pub join_token: JoinToken,
    /// Where the token came from, and comes from when it is rotated.
    pub join_token_file: Option<PathBuf>,
    /// `None`: plaintext.
    pub tls: Option<TlsFiles>,
    pub engine: EngineArgs,
    pub policy: SandboxPolicy,
    pub telemetry: TelemetryConfig,
    pub shutdown_grace: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    pub setting: &'static str,
    pub problem: String,
}

fn fault(setting: &'static str, problem: impl Into<String>) -> ConfigError {
    let problem = problem.into();
    ConfigError { setting, problem }
}

impl Config {
    /// # Errors
    /// When settings are missing, unusable or contradict each other.
    pub fn from_cli(cli: Cli) -> Result<Self, ConfigError> {
        check_engine(&cli.engine)?;
        cli.policy
            .check()
            .map_err(|error| fault(error.setting, error.problem))?;
        let NodeArgs {
            bind,
            advertise,
            control_plane,
            shutdown_grace_seconds,
            ..
        } = cli.node.clone();
        if advertise.is_none() && bind.ip().is_unspecified() && !control_plane.is_empty() {
            return Err(fault(
                "MCP_EXECUTOR_ADVERTISE",
                format!(
                    "is needed because nobody can dial the bind address {bind}; set it to https://host:port"
                ),
            ));
        }
        let files = cli
            .tls
            .files()
            .map_err(|(setting, problem)| fault(setting, problem))?;
        let mut urls = control_plane
            .iter()
            .map(|url| ("MCP_CONTROL_PLANE_URL", url.as_str()))
            .chain(
                advertise
                    .iter()
                    .map(|url| ("MCP_EXECUTOR_ADVERTISE", url.as_str())),
            );
        match &files {
            Some(_) => urls.try_for_each(|(setting, url)| check_encrypted(setting, url)),
            None if cli.tls.insecure => urls.try_for_each(|(setting, url)| check_plaintext(setting, url)),
            None => check_stays_here(bind, urls),
        }?;
        Ok(Self {
            bind,
            advertise,
            control_plane,
            join_token: join_token(&cli.node, files.is_some())?,
            join_token_file: cli.node.join_token_file,
            tls: files,
            engine: cli.engine,
            policy: cli.policy,
            telemetry: telemetry(cli.telemetry),
            shutdown_grace: Duration::from_secs(shutdown_grace_seconds.into()),
        })
    }
}

fn check_encrypted(setting: &'static str, url: &str) -> Result<(), ConfigError> {
    if url.starts_with("https://") {
        return Ok(());
    }
    let problem = format!("{url} must begin with https:// with {}", tls::CERT_FILE);
    Err(fault(setting, problem))
}

fn check_plaintext(setting: &'static str, url: &str) -> Result<(), ConfigError> {
    if url.starts_with("http://") {
        return Ok(());
    }
    let problem = format!(
        "{url} needs {}, {} and {}, or must begin with http://",
        tls::CA_FILE,
        tls::CERT_FILE,
        tls::KEY_FILE
    );
    Err(fault(setting, problem))
}

/// Without certificates nothing may leave this machine.
fn check_stays_here<'a>(
    bind: SocketAddr,
    urls: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<(), ConfigError> {
    if !bind.ip().is_loopback() {
        return Err(fault("MCP_EXECUTOR_BIND", tls::in_plaintext(&bind.to_string())));
    }
    for (setting, url) in urls {
        check_plaintext(setting, url)?;
        let host = url
            .parse::<http::Uri>()
            .ok()
            .and_then(|url| url.host().map(str::to_owned));
        if !host.is_some_and(|host| tls::is_loopback(&host)) {
            return Err(fault(setting, tls::in_plaintext(url)));
        }
    }
    Ok(())
}

/// What clap can't see of the engine's settings: how they fit each other and this machine.
///
/// # Errors
/// Names the first setting at fault.
pub fn check_engine(args: &EngineArgs) -> Result<(), ConfigError> {
    /// Below this Node.js itself does not start.
    const MIN_MEMORY: u64 = 64 << 20;
    if args.memory_limit.0 < MIN_MEMORY {
        let problem = format!("must be at least 64m, got {}", args.memory_limit);
        return Err(fault("MCP_SANDBOX_MEMORY_LIMIT", problem));
    }
    for (setting, size) in [
        ("MCP_SANDBOX_TMP_BYTES", args.tmp_bytes),
        ("MCP_SANDBOX_WORKSPACE_BYTES", args.workspace_bytes),
    ] {
        if size.0 < 1 << 20 {
            return Err(fault(setting, format!("must be at least 1m, got {size}")));
        }
    }
    if args.tmp_bytes.0.saturating_add(args.workspace_bytes.0) >= args.memory_limit.0 {
        let problem = format!(
            "{} and MCP_SANDBOX_TMP_BYTES {} together must be below MCP_SANDBOX_MEMORY_LIMIT {}, because files there \
             count as the sandbox's memory",
            args.workspace_bytes, args.tmp_bytes, args.memory_limit
        );
        return Err(fault("MCP_SANDBOX_WORKSPACE_BYTES", problem));
    }
    if args.pool_min > args.pool_max {
        let problem = format!(
            "{} is above MCP_SANDBOX_POOL_MAX {}",
            args.pool_min, args.pool_max
        );
        return Err(fault("MCP_SANDBOX_POOL_MIN", problem));
    }
    if let Some(bundle) = &args.ca_bundle {
        let pem = read(bundle).map_err(|problem| fault("MCP_SANDBOX_CA_BUNDLE", problem))?;
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            let problem = format!("{} holds no PEM certificate", bundle.display());
            return Err(fault("MCP_SANDBOX_CA_BUNDLE", problem));
        }
    }
    Ok(())
}

/// The Docker engine's own configuration.
///
/// # Errors
/// When it can't work; [`check_engine`] names most faults by their setting before.
pub fn docker_config(args: &EngineArgs, policy: &SandboxPolicy) -> Result<DockerConfig, ConfigError> {
    check_engine(args)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 1024 processors: far below what an f64 counts exactly"
    )]
    let cpus = args.cpu_limit.nanos as f64 / 1e9;
    let config = DockerConfig {
        host: Some(args.docker_host.clone()),
        runtime: args.runtime.clone(),
        memory: args.memory_limit,
        cpus,
        pids: args.pids_limit.into(),
        tmp: args.tmp_bytes,
        workspace: args.workspace_bytes,
        policy: policy.clone(),
        ca_bundle: args.ca_bundle.clone(),
        npm_registry: args.npm_registry.clone(),
        npm_registry_networks: args.npm_registry_networks.clone(),
        slots: args.slots,
        pool: PoolConfig {
            floor: args.pool_min,
            ceiling: args.pool_max,
        },
        kept: kept_config(args),
    };
    config
        .check()
        .map_err(|error| fault("MCP_EXECUTION_ENGINE", error.to_string()))?;
    Ok(config)
}

/// The isolate engine's own configuration.
pub fn isolate_config(args: &EngineArgs, policy: &SandboxPolicy) -> IsolateConfig {
    IsolateConfig {
        memory: args.memory_limit,
        slots: args.slots,
        minimum: args.isolate_minimum,
        kept: kept_config(args),
        policy: policy.clone(),
        ..IsolateConfig::default()
    }
}

/// What sandbox sessions may have here.
pub fn sandbox_limits(args: &EngineArgs, policy: &SandboxPolicy) -> SandboxLimits {
    SandboxLimits {
        slots: args.session_slots,
        max_file: ByteSize(policy.max_file_bytes),
        ..SandboxLimits::default()
    }
}

fn kept_config(args: &EngineArgs) -> KeptConfig {
    KeptConfig {
        max_uses: args.kept_max_uses,
        idle: Duration::from_secs(args.kept_idle_seconds.into()),
    }
}

/// Where the executor's identity lives when nothing is said: the user's state directory, or the machine's for a
/// process without a home.
pub fn state_dir(args: &EngineArgs) -> PathBuf {
    let from_environment = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    args.state_dir.clone().unwrap_or_else(|| {
        from_environment("XDG_STATE_HOME")
            .or_else(|| Some(from_environment("HOME")?.join(".local/state")))
            .unwrap_or_else(|| PathBuf::from("/var/lib"))
            .join("dynamic-mcp")
    })
}

/// Without certificates it is needed on loopback as well: whoever shares the machine could otherwise run code here.
fn join_token(args: &NodeArgs, with_certificates: bool) -> Result<JoinToken, ConfigError> {
    let (setting, secret) = match (&args.join_token, &args.join_token_file) {
        (Some(secret), _) => ("MCP_JOIN_TOKEN", secret.clone()),
        (None, Some(file)) => {
            let text = read(file).map_err(|problem| fault("MCP_JOIN_TOKEN_FILE", problem))?;
            ("MCP_JOIN_TOKEN_FILE", SecretString::from(text))
        }
        (None, None) if with_certificates => return Ok(JoinToken::none()),
        (None, None) => {
            return Err(fault(
                "MCP_JOIN_TOKEN",
                "is needed without certificates: the secret that the control plane was given, in this variable or in \
                 the file that MCP_JOIN_TOKEN_FILE names",
            ));
        }
    };
    JoinToken::new(&secret).map_err(|error| fault(setting, error.to_string()))
}

fn telemetry(args: TelemetryArgs) -> TelemetryConfig {
    TelemetryConfig {
        service: "dynamic-mcp-executor",
        filter: args.log,
        format: args.log_format,
        otlp_endpoint: args.otlp_endpoint.filter(|endpoint| !endpoint.is_empty()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const TOKEN: &str = "--join-token=0123456789abcdef";

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from(["dynamic-mcp-executor"].iter().chain(flags)).unwrap();
        Config::from_cli(cli)
    }

    fn setting_at_fault(flags: &[&str]) -> &'static str {
        config(flags).unwrap_err().setting
    }

    #[test]
    fn the_defaults_fit_together_and_hold_the_contract() {
        let config = config(&[TOKEN]).unwrap();
        assert_eq!(config.engine.memory_limit.to_string(), "512m");
        assert_eq!(config.engine.cpu_limit.nanos, 1_000_000_000);
        assert_eq!(config.bind.to_string(), "127.0.0.1:8790");
        assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    }

    #[test]
    fn without_a_join_token_nothing_starts_on_any_address() {
        assert_eq!(setting_at_fault(&[]), "MCP_JOIN_TOKEN");
        assert_eq!(
            setting_at_fault(&["--executor-bind=0.0.0.0:1", "--insecure"]),
            "MCP_JOIN_TOKEN"
        );
        assert_eq!(setting_at_fault(&["--join-token=short"]), "MCP_JOIN_TOKEN");
    }

    #[test]
    fn the_join_token_may_come_from_a_file_and_is_not_printed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a-token-from-a-file\n").unwrap();
        let config = config(&["--join-token-file", file.path().to_str().unwrap()]).unwrap();
        assert!(!format!("{config:?}").contains("a-token-from-a-file"));
        assert_eq!(
            setting_at_fault(&["--join-token-file=/does/not/exist"]),
            "MCP_JOIN_TOKEN_FILE"
        );
    }

    const TLS: [&str; 3] = ["--tls-ca-file=ca", "--tls-cert-file=cert", "--tls-key-file=key"];

    #[test]
    fn with_certificates_a_join_token_is_a_matter_of_taste() {
        assert!(!config(&TLS).unwrap().join_token.is_needed());
        let both = [TLS.as_slice(), &[TOKEN]].concat();
        assert!(config(&both).unwrap().join_token.is_needed());
    }

    #[test]
    fn plaintext_leaves_this_machine_only_when_told_to() {
        let beyond = [
            (&["--executor-bind=0.0.0.0:1"][..], "MCP_EXECUTOR_BIND"),
            (&["--executor-advertise=http://node:1"], "MCP_EXECUTOR_ADVERTISE"),
            (&["--control-plane-url=http://control:1"], "MCP_CONTROL_PLANE_URL"),
            (
                &["--control-plane-url=http://127.0.0.1:1,http://10.0.0.1:1"],
                "MCP_CONTROL_PLANE_URL",
            ),
        ];
        for (flags, setting) in beyond {
            let flags = [flags, &[TOKEN]].concat();
            let error = config(&flags).unwrap_err();
            assert_eq!(error.setting, setting);
            assert!(error.problem.contains("dynamic-mcp certs"), "{error}");
            assert!(error.problem.contains("--insecure"), "{error}");
            assert!(
                config(&[flags.as_slice(), &["--insecure"]].concat()).is_ok(),
                "{setting}"
            );
        }
        let here = ["--control-plane-url=http://localhost:1,http://[::1]:2", TOKEN];
        assert!(config(&here).is_ok());
    }

    #[test]
    fn an_address_begins_as_the_connection_does() {
        for (flags, setting) in [
            (
                [TLS.as_slice(), &["--control-plane-url=http://127.0.0.1:1"]].concat(),
                "MCP_CONTROL_PLANE_URL",
            ),
            (
                [TLS.as_slice(), &["--executor-advertise=http://127.0.0.1:1"]].concat(),
                "MCP_EXECUTOR_ADVERTISE",
            ),
            (
                vec![TOKEN, "--control-plane-url=https://127.0.0.1:1"],
                "MCP_CONTROL_PLANE_URL",
            ),
            (
                vec![TOKEN, "--insecure", "--control-plane-url=https://control:1"],
                "MCP_CONTROL_PLANE_URL",
            ),
            (vec![TOKEN, "--tls-ca-file=ca"], "MCP_TLS_CERT_FILE"),
            ([TLS.as_slice(), &["--insecure"]].concat(), "MCP_FLEET_INSECURE"),
        ] {
            assert_eq!(setting_at_fault(&flags), setting);
        }
    }

    #[test]
    fn contradictions_fail_by_their_name() {
        for (flags, setting) in [
            (
                &["--sandbox-memory-limit=100m"][..],
                "MCP_SANDBOX_WORKSPACE_BYTES",
            ),
            (&["--sandbox-memory-limit=10m"], "MCP_SANDBOX_MEMORY_LIMIT"),
            (&["--sandbox-tmp-bytes=0"], "MCP_SANDBOX_TMP_BYTES"),
            (
                &["--sandbox-pool-min=3", "--sandbox-pool-max=2"],
                "MCP_SANDBOX_POOL_MIN",
            ),
            (&["--sandbox-ca-bundle=/dev/null"], "MCP_SANDBOX_CA_BUNDLE"),
            (&["--sandbox-require-digest"], "MCP_SANDBOX_REQUIRE_DIGEST"),
            (
                &["--executor-bind=0.0.0.0:1", "--control-plane-url=http://c:1"],
                "MCP_EXECUTOR_ADVERTISE",
            ),
        ] {
            let flags: Vec<&str> = flags.iter().copied().chain([TOKEN]).collect();
            assert_eq!(setting_at_fault(&flags), setting);
        }
    }
}
