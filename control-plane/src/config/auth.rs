//! From the settings of authentication as typed to what they mean together.

use std::fs;
use std::time::Duration;

use reqwest::Url;

use super::args::{AuthArgs, AuthMode};
use super::{ConfigError, fault};
use crate::auth::jwt::{JwtConfig, Rules};
use crate::auth::{ResourceUrl, ScopeNames};

/// Those that tokens can't be taken without.
pub(super) const JWT_NEEDED: [&str; 3] = ["MCP_AUTH_JWKS_URL", "MCP_AUTH_ISSUER", "MCP_AUTH_AUDIENCE"];
pub(super) const JWT_ONLY: [&str; 13] = [
    "MCP_AUTH_JWKS_URL",
    "MCP_AUTH_ISSUER",
    "MCP_AUTH_AUDIENCE",
    "MCP_AUTH_REQUIRED_SCOPES",
    "MCP_AUTH_SCOPE_CALL",
    "MCP_AUTH_SCOPE_WRITE",
    "MCP_AUTH_SCOPE_SANDBOX",
    "MCP_AUTH_SCOPE_ADMIN",
    "MCP_AUTH_TENANT_CLAIM",
    "MCP_AUTH_LEEWAY_SECONDS",
    "MCP_AUTH_JWKS_REFRESH_SECONDS",
    "MCP_AUTH_CA_FILE",
    "MCP_AUTH_RESOURCE",
];

#[derive(Debug, Clone)]
pub struct AuthSettings {
    pub jwks_url: Url,
    pub jwks_refresh: Duration,
    /// PEM.
    pub authority: Option<Vec<u8>>,
    pub jwt: JwtConfig,
}

impl AuthArgs {
    /// `None`: everybody comes in. `path` is that of the endpoint.
    pub(super) fn settings(&self, path: &str) -> Result<Option<AuthSettings>, ConfigError> {
        if self.auth_mode == AuthMode::None {
            return Ok(None);
        }
        let needed = |setting: &'static str| move || fault(setting, "is needed with MCP_AUTH_MODE=jwt");
        let jwks_url = self
            .auth_jwks_url
            .clone()
            .ok_or_else(needed("MCP_AUTH_JWKS_URL"))?;
        let issuer = self.auth_issuer.clone().ok_or_else(needed("MCP_AUTH_ISSUER"))?;
        let audience = self
            .auth_audience
            .clone()
            .ok_or_else(needed("MCP_AUTH_AUDIENCE"))?;
        let authority = self.auth_ca_file.as_ref().map(|file| {
            let problem = |error| format!("{} can't be read: {error}", file.display());
            fs::read(file).map_err(|error| fault("MCP_AUTH_CA_FILE", problem(error)))
        });
        Ok(Some(AuthSettings {
            jwks_url,
            jwks_refresh: Duration::from_secs(self.auth_jwks_refresh_seconds.into()),
            authority: authority.transpose()?,
            jwt: JwtConfig {
                resource: self.resource(&audience, path),
                rules: Rules {
                    issuer,
                    audience,
                    tenant: self.auth_tenant_claim.clone(),
                    leeway: Duration::from_secs(self.auth_leeway_seconds.into()),
                },
                scopes: ScopeNames {
                    call: self.auth_scope_call.clone(),
                    write: self.auth_scope_write.clone(),
                    sandbox: self.auth_scope_sandbox.clone(),
                    admin: self.auth_scope_admin.clone(),
                    always: self
                        .auth_required_scopes
                        .clone()
                        .map(|list| list.0)
                        .unwrap_or_default(),
                },
            },
        }))
    }

    fn resource(&self, audience: &str, path: &str) -> ResourceUrl {
        let is_address = audience.starts_with("https://") || audience.starts_with("http://");
        match &self.auth_resource {
            Some(url) => ResourceUrl::Fixed(url.to_string()),
            None if is_address => ResourceUrl::Fixed(audience.to_owned()),
            None => ResourceUrl::ByHost(if path == "/" {
                String::new()
            } else {
                path.to_owned()
            }),
        }
    }
}
