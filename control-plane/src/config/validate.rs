//! From what was typed to what is meant.

use std::env;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::telemetry::TelemetryConfig;
use dynamic_mcp_shared::tls;
use secrecy::ExposeSecret as _;

use super::auth::{JWT_NEEDED, JWT_ONLY};
use super::cli::{self, Config};
use super::secret::read_secret;
use super::settings::{Backend, FleetSettings, HttpSettings, RegistrySettings, Settings};
use super::sources::Given;
use super::{AuthMode, AuthSettings, BackendKind, ConfigError, Transport, fault};
use crate::audit::command::AuditPlaces;
use crate::audit::{AuditConfig, KeyFile, OnLoss};
use crate::guard::{GuardConfig, GuardLimits};
use crate::redis::RedisConfig;
use crate::registry::PostgresConfig;
use crate::sandbox::{FileLimits, SandboxConfig};
use crate::tenant::TenantLimits;

/// Of the files of a sandbox session that are moved together.
const MAX_BYTES_OF_ONE_CALL: u64 = 64 << 20;

const HTTP_ONLY: [&str; 8] = [
    "MCP_HOST",
    "MCP_PORT",
    "MCP_PATH",
    "MCP_HTTP_SESSION_TTL_SECONDS",
    "MCP_HTTP_MAX_REQUEST_BYTES",
    "MCP_HTTP_ALLOWED_HOSTS",
    "MCP_HTTP_ALLOWED_ORIGINS",
    "MCP_HTTP_MAX_CONNECTIONS",
];
const POSTGRES_ONLY: [&str; 4] = [
    "MCP_AUDIT_RETENTION_DAYS",
    "MCP_DYNAMIC_PG_SCHEMA",
    "MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS",
    "MCP_DYNAMIC_PG_INIT_BACKOFF_MS",
];
const ADMIN_TOKEN: [&str; 3] = [
    "MCP_ADMIN_TOKEN",
    "MCP_ADMIN_TOKEN_FILE",
    "MCP_REQUIRE_ADMIN_TOKEN",
];
const FLEET_ONLY: [&str; 6] = [
    "MCP_JOIN_TOKEN",
    "MCP_JOIN_TOKEN_FILE",
    tls::CA_FILE,
    tls::CERT_FILE,
    tls::KEY_FILE,
    tls::INSECURE,
];
const REDIS_ONLY: [&str; 4] = [
    "MCP_REDIS_CLUSTER",
    "MCP_REDIS_CA_FILE",
    "MCP_REDIS_PREFIX",
    "MCP_GUARD_ON_LOSS",
];
const AUDIT_ONLY: [&str; 7] = [
    "MCP_AUDIT_FILE",
    "MCP_AUDIT_KEY_FILE",
    "MCP_AUDIT_ON_LOSS",
    "MCP_AUDIT_RETENTION_DAYS",
    "MCP_AUDIT_MAX_EVENT_BYTES",
    "MCP_AUDIT_MAX_FILE_BYTES",
    "MCP_AUDIT_MAX_FILES",
];

impl Config {
    /// # Errors
    /// The first setting that is unusable, or contradicts another one.
    pub fn validate(&self) -> Result<Settings, ConfigError> {
        self.policy
            .check()
            .map_err(|error| fault(error.setting, error.problem))?;
        let auth = self.auth()?;
        let mut warnings = self.unused()?;
        let state_dir = self.state_dir()?;
        let mut registry = self.registry(&state_dir)?;
        if self.server.transport == Transport::Http {
            warnings.extend(self.exposure(auth.is_some(), registry.admin_token.is_some()));
        }
        if auth.is_some() {
            registry.admin_token = None;
        }
        let fleet = self.fleet()?;
        if let Some(fleet) = &fleet
            && fleet.insecure
            && !fleet.bind.ip().is_loopback()
        {
            warnings.push(format!(
                "MCP_FLEET_BIND {} is reachable from other machines, and what executors and this server say to each \
                 other is not encrypted: use a network that you trust",
                fleet.bind
            ));
        }
        let audit = self.audit(&state_dir)?;
        let is_shared = matches!(registry.backend, Backend::Postgres(_));
        if audit.enabled && is_shared && matches!(audit.key, KeyFile::Own(_)) {
            warnings.push(
                "MCP_AUDIT_KEY_FILE is not set: this server chains its audit with a key of its own, and to verify what \
                 is in the database takes the keys of all replicas"
                    .to_owned(),
            );
        }
        Ok(Settings {
            transport: self.server.transport,
            profile: self.server.profile,
            shutdown_grace: Duration::from_secs(self.server.shutdown_grace_seconds.into()),
            http: self.http(),
            auth,
            registry,
            policy: self.policy.clone(),
            sandbox: self.sandbox()?,
            guard: self.guard(),
            guard_on_loss: self.guard.guard_on_loss,
            tenant: self.tenant_defaults(),
            audit,
            fleet,
            redis: self.redis()?,
            telemetry: self.telemetry(),
            state_dir,
            warnings,
        })
    }

    /// A flag without effect was typed for this very start, so it is an error. A variable may stand in an environment
    /// that other processes share, so it is a warning.
    fn unused(&self) -> Result<Vec<String>, ConfigError> {
        let with_fleet = self.fleet.fleet_bind.is_some();
        let jwt = self.auth.auth_mode == AuthMode::Jwt;
        let engine = if with_fleet {
            cli::engine_variables()
        } else {
            Vec::new()
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let with_redis = self.redis.redis_url.is_some() || self.redis.redis_url_file.is_some();
        let without_effect: [(bool, Vec<String>, &str); 8] = [
            (
                self.server.transport == Transport::Stdio,
                names(&HTTP_ONLY),
                "with MCP_TRANSPORT=stdio",
            ),
            (!jwt, names(&JWT_ONLY), "with MCP_AUTH_MODE=none"),
            (
                jwt,
                names(&ADMIN_TOKEN),
                "with MCP_AUTH_MODE=jwt: the scopes of a token say what its bearer may",
            ),
            (
                self.registry.dynamic_backend == BackendKind::File,
                names(&POSTGRES_ONLY),
                "with MCP_DYNAMIC_BACKEND=file",
            ),
            (!with_fleet, names(&FLEET_ONLY), "without MCP_FLEET_BIND"),
            (!with_redis, names(&REDIS_ONLY), "without MCP_REDIS_URL"),
            (
                !self.audit.audit_enabled,
                names(&AUDIT_ONLY),
                "with MCP_AUDIT_ENABLED=false",
            ),
            (
                with_fleet,
                engine,
                "with MCP_FLEET_BIND: it is a setting of the executors that join",
            ),
        ];
        let mut warnings = Vec::new();
        for (_, variables, why) in without_effect.into_iter().filter(|(applies, ..)| *applies) {
            for variable in variables {
                match self.sources.of_variable(&variable) {
                    None => {}
                    Some(Given::AsFlag) => return Err(fault(variable, format!("has no effect {why}"))),
                    Some(Given::AsVariable) => warnings.push(format!("{variable} has no effect {why}")),
                }
            }
        }
        Ok(warnings)
    }

    /// # Errors
    /// When nothing says where it is.
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        let directory = |name: &str| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        self.server
            .state_dir
            .clone()
            .or_else(|| Some(directory("XDG_STATE_HOME")?.join("dynamic-mcp")))
            .or_else(|| Some(directory("HOME")?.join(".local/state/dynamic-mcp")))
            .ok_or_else(|| {
                fault(
                    "MCP_STATE_DIR",
                    "is needed because neither XDG_STATE_HOME nor HOME is set",
                )
            })
    }

    fn auth(&self) -> Result<Option<AuthSettings>, ConfigError> {
        if self.auth.auth_mode == AuthMode::Jwt && self.server.transport == Transport::Stdio {
            let problem = "jwt is for MCP_TRANSPORT=http: over stdio whoever started the process is its user";
            return Err(fault("MCP_AUTH_MODE", problem));
        }
        // Who gives these means to let in by token, and must not get a server that lets in everybody.
        let meant = JWT_NEEDED
            .into_iter()
            .find(|setting| self.sources.of_variable(setting).is_some());
        if let (Transport::Http, None, Some(setting)) = (
            self.server.transport,
            self.sources.of_variable("MCP_AUTH_MODE"),
            meant,
        ) {
            let problem = format!("is needed with {setting}: jwt, or none to let in everybody");
            return Err(fault("MCP_AUTH_MODE", problem));
        }
        self.auth.settings(&self.http.path)
    }

    fn http(&self) -> HttpSettings {
        let http = &self.http;
        HttpSettings {
            host: http.host.clone(),
            port: http.port,
            path: http.path.clone(),
            session_ttl: Duration::from_secs(http.http_session_ttl_seconds.into()),
            max_request_bytes: http.http_max_request_bytes as usize,
            allowed_hosts: http.http_allowed_hosts.clone(),
            allowed_origins: http.http_allowed_origins.clone(),
            max_connections: http.http_max_connections as usize,
        }
    }

    /// What a server that other machines can reach lets them do.
    fn exposure(&self, has_auth: bool, has_admin_token: bool) -> Vec<String> {
        let http = &self.http;
        let address = http.host.parse::<IpAddr>().ok();
        if http.host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return Vec::new();
        }
        let what = if has_admin_token {
            "call tools and run code"
        } else {
            "make tools, call them and run code"
        };
        let mut warnings = Vec::new();
        if !has_auth {
            warnings.push(format!(
                "MCP_HOST {} is reachable from other machines, and without authentication (MCP_AUTH_MODE) everybody \
                 there can {what}",
                http.host
            ));
        }
        if address.is_some_and(|address| address.is_unspecified()) && http.http_allowed_hosts.is_empty() {
            warnings.push(
                "only requests to a loopback name are answered until MCP_HTTP_ALLOWED_HOSTS names those under which \
                 clients reach this server"
                    .to_owned(),
            );
        }
        warnings
    }

    fn registry(&self, state_dir: &Path) -> Result<RegistrySettings, ConfigError> {
        let args = &self.registry;
        let admin_token = read_secret(
            args.admin_token.as_ref(),
            args.admin_token_file.as_deref(),
            "MCP_ADMIN_TOKEN_FILE",
        )?;
        if args.require_admin_token && admin_token.is_none() && self.auth.auth_mode == AuthMode::None {
            let problem = "needs MCP_ADMIN_TOKEN or MCP_ADMIN_TOKEN_FILE, and neither is set";
            return Err(fault("MCP_REQUIRE_ADMIN_TOKEN", problem));
        }
        Ok(RegistrySettings {
            backend: self.backend(state_dir)?,
            read_only: args.dynamic_read_only,
            default_runtime: args.default_runtime,
            admin_token,
        })
    }

    /// # Errors
    /// When what was given is not whole, or contradicts itself.
    pub fn backend(&self, state_dir: &Path) -> Result<Backend, ConfigError> {
        let args = &self.registry;
        let url = read_secret(
            args.dynamic_pg_url.as_ref(),
            args.dynamic_pg_url_file.as_deref(),
            "MCP_DYNAMIC_PG_URL_FILE",
        )?;
        match (args.dynamic_backend, url) {
            (BackendKind::File, Some(_)) => Err(fault(
                "MCP_DYNAMIC_PG_URL",
                "is set, but MCP_DYNAMIC_BACKEND is file; set that to postgres",
            )),
            (BackendKind::File, None) => {
                let store = args
                    .dynamic_store
                    .clone()
                    .unwrap_or_else(|| state_dir.join("tools.sqlite"));
                Ok(Backend::File { store })
            }
            (BackendKind::Postgres, _) if args.dynamic_store.is_some() => Err(fault(
                "MCP_DYNAMIC_STORE",
                "is set, but MCP_DYNAMIC_BACKEND is postgres; set that to file",
            )),
            (BackendKind::Postgres, None) => {
                let problem = "needs MCP_DYNAMIC_PG_URL or MCP_DYNAMIC_PG_URL_FILE, and neither is set";
                Err(fault("MCP_DYNAMIC_BACKEND", problem))
            }
            (BackendKind::Postgres, Some(url)) => {
                let text = url.expose_secret();
                if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
                    return Err(fault(
                        "MCP_DYNAMIC_PG_URL",
                        "must begin with postgres:// or postgresql://",
                    ));
                }
                Ok(Backend::Postgres(PostgresConfig {
                    url,
                    schema: args.dynamic_pg_schema.clone(),
                    init_max_attempts: args.dynamic_pg_init_max_attempts,
                    init_backoff: Duration::from_millis(args.dynamic_pg_init_backoff_ms),
                }))
            }
        }
    }

    fn guard(&self) -> GuardConfig {
        let args = &self.guard;
        GuardConfig {
            limits: GuardLimits {
                max_concurrency: args.tool_max_concurrency,
                max_calls_per_window: args.tool_max_calls_per_window,
                window_ms: args.tool_rate_window_ms,
            },
            queue_wait: Duration::from_millis(args.tool_queue_wait_ms),
            max_waiting: args.tool_queue_max as usize,
        }
    }

    fn sandbox(&self) -> Result<SandboxConfig, ConfigError> {
        let args = &self.sandbox;
        let (idle, max) = (
            args.sandbox_session_timeout_seconds,
            args.sandbox_session_max_seconds,
        );
        if self
            .sources
            .of_variable("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS")
            .is_some()
            && idle > max
        {
            let problem = format!("{idle} is above MCP_SANDBOX_SESSION_MAX_SECONDS {max}");
            return Err(fault("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", problem));
        }
        Ok(SandboxConfig {
            max_sessions: args.sandbox_max_sessions,
            idle: Duration::from_secs(idle.min(max).into()),
            max_life: Duration::from_secs(max.into()),
            files: FileLimits {
                max_file_bytes: self.policy.max_file_bytes,
                max_total_bytes: MAX_BYTES_OF_ONE_CALL.max(self.policy.max_file_bytes),
            },
        })
    }

    fn tenant_defaults(&self) -> TenantLimits {
        let args = &self.tenant;
        TenantLimits {
            max_tools: self.registry.dynamic_max_tools,
            max_concurrency: args
                .tenant_max_concurrency
                .unwrap_or(self.guard.tool_max_concurrency),
            max_calls_per_window: args.tenant_max_calls_per_window,
            weight: args.tenant_weight,
            max_sessions: args.tenant_max_sessions,
            max_sandboxes: args
                .tenant_max_sandboxes
                .unwrap_or(self.sandbox.sandbox_max_sessions),
            max_memory_mb: args.tenant_max_memory_mb,
        }
    }

    fn audit(&self, state_dir: &Path) -> Result<AuditConfig, ConfigError> {
        let args = &self.audit;
        if u64::from(args.audit_max_event_bytes) > args.audit_max_file_bytes {
            let problem = format!(
                "{} is above MCP_AUDIT_MAX_FILE_BYTES {}",
                args.audit_max_event_bytes, args.audit_max_file_bytes
            );
            return Err(fault("MCP_AUDIT_MAX_EVENT_BYTES", problem));
        }
        let with_postgres = self.registry.dynamic_backend == BackendKind::Postgres;
        if with_postgres && args.audit_on_loss == OnLoss::Block && args.audit_max_files < 2 {
            let problem = "must be at least 2 with MCP_AUDIT_ON_LOSS=block and Postgres: a file goes only when the next one \
                           is begun and its lines are sent";
            return Err(fault("MCP_AUDIT_MAX_FILES", problem));
        }
        Ok(AuditConfig {
            enabled: args.audit_enabled,
            file: args
                .audit_file
                .clone()
                .unwrap_or_else(|| state_dir.join("audit.jsonl")),
            key: match &args.audit_key_file {
                Some(file) => KeyFile::Given(file.clone()),
                None => KeyFile::Own(state_dir.join("audit.key")),
            },
            on_loss: args.audit_on_loss,
            retention: Duration::from_secs(u64::from(args.audit_retention_days) * 86_400),
            max_event_bytes: args.audit_max_event_bytes as usize,
            max_file_bytes: args.audit_max_file_bytes,
            max_files: args.audit_max_files,
        })
    }

    /// Where `audit verify` finds what a server of these settings would write; `with_store`: in its registry's store too.
    ///
    /// # Errors
    /// When what concerns the audit or the registry is not valid.
    pub fn audit_places(&self, with_store: bool) -> Result<AuditPlaces, ConfigError> {
        let state_dir = self.state_dir()?;
        let audit = self.audit(&state_dir)?;
        let backend = with_store.then(|| self.backend(&state_dir)).transpose()?;
        let (sqlite, postgres) = match backend {
            None => (None, None),
            Some(Backend::File { store }) => (Some(store), None),
            Some(Backend::Postgres(config)) => (None, Some(config.url)),
        };
        Ok(AuditPlaces {
            file: audit.file,
            key: audit.key,
            sqlite,
            postgres,
            schema: self.registry.dynamic_pg_schema.clone(),
        })
    }

    fn fleet(&self) -> Result<Option<FleetSettings>, ConfigError> {
        let args = &self.fleet;
        let Some(bind) = args.fleet_bind else {
            if cfg!(feature = "embedded-executor") {
                return Ok(None);
            }
            let problem = "is needed: this build runs no code itself, so executors must be able to join";
            return Err(fault("MCP_FLEET_BIND", problem));
        };
        let files = self
            .tls
            .files()
            .map_err(|(setting, problem)| fault(setting, problem))?;
        if files.is_none() && !self.tls.insecure && !bind.ip().is_loopback() {
            return Err(fault("MCP_FLEET_BIND", tls::in_plaintext(&bind.to_string())));
        }
        Ok(Some(FleetSettings {
            bind,
            join_token: self.join_token(files.is_some())?,
            join_token_file: args.join_token_file.clone(),
            tls: files,
            insecure: self.tls.insecure,
        }))
    }

    fn redis(&self) -> Result<Option<RedisConfig>, ConfigError> {
        let args = &self.redis;
        let url = read_secret(
            args.redis_url.as_ref(),
            args.redis_url_file.as_deref(),
            "MCP_REDIS_URL_FILE",
        )?;
        let Some(url) = url else { return Ok(None) };
        let is_address = |url: &str| {
            ["redis://", "rediss://"]
                .iter()
                .any(|scheme| url.trim().starts_with(scheme))
        };
        if !url.expose_secret().split(',').all(is_address) {
            let problem = "must begin with redis:// or rediss://, and so must each address of a cluster";
            return Err(fault("MCP_REDIS_URL", problem));
        }
        Ok(Some(RedisConfig {
            url,
            is_cluster: args.redis_cluster,
            ca_file: args.redis_ca_file.clone(),
            prefix: args.redis_prefix.clone(),
        }))
    }

    fn join_token(&self, with_certificates: bool) -> Result<JoinToken, ConfigError> {
        let args = &self.fleet;
        let token = read_secret(
            args.join_token.as_ref(),
            args.join_token_file.as_deref(),
            "MCP_JOIN_TOKEN_FILE",
        )?;
        match token {
            Some(token) => JoinToken::new(&token).map_err(|error| fault("MCP_JOIN_TOKEN", error.to_string())),
            None if with_certificates => Ok(JoinToken::none()),
            None => {
                let problem = "or MCP_JOIN_TOKEN_FILE is needed with MCP_FLEET_BIND and without certificates: executors \
                               join with it";
                Err(fault("MCP_JOIN_TOKEN", problem))
            }
        }
    }

    fn telemetry(&self) -> TelemetryConfig {
        TelemetryConfig {
            service: "dynamic-mcp",
            filter: self.telemetry.log.clone(),
            format: self.telemetry.log_format,
            otlp_endpoint: self.telemetry.otel_exporter_otlp_endpoint.clone(),
        }
    }
}
