//! The settings as the rest of the server takes them: checked, in its own types, secrets hidden from `Debug`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::telemetry::TelemetryConfig;
use dynamic_mcp_shared::tls::TlsFiles;
use secrecy::SecretString;

use super::{AuthSettings, Transport};
use crate::audit::AuditConfig;
use crate::guard::{GuardConfig, OnStoreLoss};
use crate::mcp::Profile;
use crate::redis::RedisConfig;
use crate::registry::{PostgresConfig, RuntimeChoice};
use crate::sandbox::SandboxConfig;
use crate::tenant::TenantLimits;

#[derive(Debug, Clone)]
pub struct Settings {
    pub transport: Transport,
    pub profile: Profile,
    pub state_dir: PathBuf,
    pub shutdown_grace: Duration,
    pub http: HttpSettings,
    /// `None`: whoever can reach the server may use it.
    pub auth: Option<AuthSettings>,
    pub registry: RegistrySettings,
    pub policy: SandboxPolicy,
    pub sandbox: SandboxConfig,
    pub guard: GuardConfig,
    /// Of a guard that replicas share.
    pub guard_on_loss: OnStoreLoss,
    /// What a tenant may have for which nothing is set.
    pub tenant: TenantLimits,
    pub audit: AuditConfig,
    /// `None`: an executor within this process.
    pub fleet: Option<FleetSettings>,
    /// `None`: this replica is alone.
    pub redis: Option<RedisConfig>,
    pub telemetry: TelemetryConfig,
    /// What an operator should know, one sentence each; to be logged once there is a logger.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct HttpSettings {
    pub host: String,
    pub port: u16,
    pub path: String,
    pub session_ttl: Duration,
    pub max_request_bytes: usize,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub max_connections: usize,
}

#[derive(Debug, Clone)]
pub struct RegistrySettings {
    pub backend: Backend,
    pub read_only: bool,
    /// `None`: what the fleet has decides.
    pub default_runtime: Option<RuntimeChoice>,
    pub admin_token: Option<SecretString>,
}

#[derive(Debug, Clone)]
pub enum Backend {
    File { store: PathBuf },
    Postgres(PostgresConfig),
}

#[derive(Debug, Clone)]
pub struct FleetSettings {
    pub bind: SocketAddr,
    pub join_token: JoinToken,
    /// Where the token came from, and comes from when it is rotated.
    pub join_token_file: Option<PathBuf>,
    /// `None`: plaintext.
    pub tls: Option<TlsFiles>,
    /// Plaintext may leave this machine.
    pub insecure: bool,
}
