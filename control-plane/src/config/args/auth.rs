//! The settings of who may come in over HTTP.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reqwest::Url;

use crate::auth::ScopeNames;
use crate::auth::jwt::ClaimPath;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Whoever can reach the server
    None,
    /// Whoever has an access token of the issuer's, a JSON Web Token
    Jwt,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication, over HTTP")]
pub struct AuthArgs {
    /// none: whoever can reach the server may use it; jwt: whoever has an access token of the issuer's
    #[arg(long, env = "MCP_AUTH_MODE", value_enum, default_value = "none")]
    pub auth_mode: AuthMode,

    /// Where the issuer publishes its keys (a JWK set, RFC 7517); https, or http on this machine
    #[arg(long, env = "MCP_AUTH_JWKS_URL", value_name = "URL", value_parser = parse_keys_url)]
    pub auth_jwks_url: Option<Url>,

    /// The issuer, exactly as its tokens name it in iss
    #[arg(long, env = "MCP_AUTH_ISSUER", value_name = "ISSUER")]
    pub auth_issuer: Option<String>,

    /// What tokens for this server name in aud
    #[arg(long, env = "MCP_AUTH_AUDIENCE", value_name = "AUDIENCE")]
    pub auth_audience: Option<String>,

    /// Scopes that every token must have, separated by spaces or commas
    #[arg(long, env = "MCP_AUTH_REQUIRED_SCOPES", value_name = "SCOPES", value_parser = parse_scopes)]
    pub auth_required_scopes: Option<ScopeList>,

    /// Scope to list and call tools
    #[arg(long, env = "MCP_AUTH_SCOPE_CALL", value_name = "SCOPE", default_value = ScopeNames::CALL, value_parser = parse_scope)]
    pub auth_scope_call: String,

    /// Scope to make, change and delete tools, and to read their code
    #[arg(long, env = "MCP_AUTH_SCOPE_WRITE", value_name = "SCOPE", default_value = ScopeNames::WRITE, value_parser = parse_scope)]
    pub auth_scope_write: String,

    /// Scope to have sandbox sessions
    #[arg(long, env = "MCP_AUTH_SCOPE_SANDBOX", value_name = "SCOPE", default_value = ScopeNames::SANDBOX, value_parser = parse_scope)]
    pub auth_scope_sandbox: String,

    /// Scope to see and change what concerns the whole deployment
    #[arg(long, env = "MCP_AUTH_SCOPE_ADMIN", value_name = "SCOPE", default_value = ScopeNames::ADMIN, value_parser = parse_scope)]
    pub auth_scope_admin: String,

    /// Claim that names the tenant, or a JSON Pointer to it, as /org/id; if not set, all are of the tenant default
    #[arg(long, env = "MCP_AUTH_TENANT_CLAIM", value_name = "CLAIM", value_parser = parse_claim)]
    pub auth_tenant_claim: Option<ClaimPath>,

    /// Seconds that the issuer's clock may be off
    #[arg(
        long,
        env = "MCP_AUTH_LEEWAY_SECONDS",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=300)
    )]
    pub auth_leeway_seconds: u32,

    /// Seconds after which the issuer's keys are fetched again, and a revoked one is worth nothing
    #[arg(
        long,
        env = "MCP_AUTH_JWKS_REFRESH_SECONDS",
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(5..=86_400)
    )]
    pub auth_jwks_refresh_seconds: u32,

    /// File of certificates (PEM) to trust beside the system's when the keys are fetched
    #[arg(long, env = "MCP_AUTH_CA_FILE", value_name = "FILE")]
    pub auth_ca_file: Option<PathBuf>,

    /// Address by which clients ask for tokens for this server (RFC 9728, resource); the audience if that is one, else as
    /// the request says
    #[arg(long, env = "MCP_AUTH_RESOURCE", value_name = "URL", value_parser = parse_resource)]
    pub auth_resource: Option<Url>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeList(pub Vec<String>);

/// What comes over plain HTTP from another machine, anybody in between could have written.
fn parse_keys_url(text: &str) -> Result<Url, String> {
    let allowed =
        "an address that begins with https://, or with http:// on this machine, without user and password";
    let url: Url = text.parse().map_err(|_| allowed.to_owned())?;
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(&url));
    let bare = url.username().is_empty() && url.password().is_none();
    (secure && bare).then_some(url).ok_or_else(|| allowed.to_owned())
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// RFC 8707, section 2: absolute and without a fragment.
fn parse_resource(text: &str) -> Result<Url, String> {
    let allowed = "an address that begins with https:// or http://, without query and fragment";
    let url: Url = text.parse().map_err(|_| allowed.to_owned())?;
    let fits = ["https", "http"].contains(&url.scheme()) && url.query().is_none() && url.fragment().is_none();
    fits.then_some(url).ok_or_else(|| allowed.to_owned())
}

fn parse_scopes(text: &str) -> Result<ScopeList, String> {
    let names = text.split([' ', ',']).filter(|name| !name.is_empty());
    names.map(parse_scope).collect::<Result<_, _>>().map(ScopeList)
}

/// scope-token of RFC 6749, section 3.3.
fn parse_scope(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if (1..=200).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a scope: printable ASCII without spaces, quotes and backslashes".to_owned())
    }
}

fn parse_claim(text: &str) -> Result<ClaimPath, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for right in [
            "https://a.example/jwks",
            "http://127.0.0.1:9/jwks",
            "http://localhost/k",
            "http://[::1]:9/k",
        ] {
            assert!(parse_keys_url(right).is_ok(), "{right}");
        }
        for wrong in [
            "http://a.example/jwks",
            "ftp://a/b",
            "a.example",
            "https://u:p@a.example/",
            "file:///etc/passwd",
            "http://localhost.evil.example/",
        ] {
            assert!(parse_keys_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scopes_are_separated_by_spaces_or_commas() {
        assert_eq!(
            parse_scopes("a  b,c:d"),
            Ok(ScopeList(["a", "b", "c:d"].map(str::to_owned).to_vec()))
        );
        for wrong in ["a\"b", "a\\b", "\u{e9}"] {
            assert!(parse_scopes(wrong).is_err(), "{wrong}");
        }
    }
}
