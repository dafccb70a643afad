//! The settings of the HTTP transport.

use clap::Args;

/// A larger request is never accepted, whatever the operator allows.
const MOST_REQUEST_BYTES: i64 = 16 * 1024 * 1024;
/// What this server answers itself.
const OWN_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address or name to listen on
    #[arg(long, env = "MCP_HOST", value_name = "HOST", default_value = "127.0.0.1", value_parser = parse_host)]
    pub host: String,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "MCP_PORT", value_name = "PORT", default_value_t = 8788)]
    pub port: u16,

    /// Path of the MCP endpoint
    #[arg(long, env = "MCP_PATH", value_name = "PATH", default_value = "/mcp", value_parser = parse_path)]
    pub path: String,

    /// Seconds without a request after which a session of the older protocol versions ends
    #[arg(
        long,
        env = "MCP_HTTP_SESSION_TTL_SECONDS",
        value_name = "SECONDS",
        default_value_t = 1_800,
        value_parser = clap::value_parser!(u32).range(1..=604_800)
    )]
    pub http_session_ttl_seconds: u32,

    /// Largest request body in bytes, at most 16 MiB
    #[arg(
        long,
        env = "MCP_HTTP_MAX_REQUEST_BYTES",
        value_name = "BYTES",
        default_value_t = 1_048_576,
        value_parser = clap::value_parser!(u32).range(1_024..=MOST_REQUEST_BYTES)
    )]
    pub http_max_request_bytes: u32,

    /// Names under which clients reach this server, beside loopback and MCP_HOST, separated by commas; * is any
    #[arg(
        long,
        env = "MCP_HTTP_ALLOWED_HOSTS",
        value_name = "HOSTS",
        value_delimiter = ',',
        value_parser = parse_allowed_host
    )]
    pub http_allowed_hosts: Vec<String>,

    /// Web origins that may call this server, beside its own and loopback ones, separated by commas; * is any
    #[arg(
        long,
        env = "MCP_HTTP_ALLOWED_ORIGINS",
        value_name = "ORIGINS",
        value_delimiter = ',',
        value_parser = parse_allowed_origin
    )]
    pub http_allowed_origins: Vec<String>,

    /// Connections that may be open at once
    #[arg(
        long,
        env = "MCP_HTTP_MAX_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = 4_096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub http_max_connections: u32,
}

fn parse_host(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let name = (1..=253).contains(&bare.len())
        && bare
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if name || bare.parse::<std::net::IpAddr>().is_ok() {
        Ok(bare.to_owned())
    } else {
        Err("an IP address or a host name, without a port".to_owned())
    }
}

fn parse_path(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b));
    let ok = text.starts_with('/')
        && plain
        && text.len() <= 200
        && !text.contains("//")
        && (text == "/" || !text.ends_with('/'))
        && !OWN_PATHS.contains(&text);
    ok.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "a path that begins with '/' and does not end with it, of letters, digits, '-', '.', '_', '~', other than {}",
            OWN_PATHS.join(", ")
        )
    })
}

fn parse_allowed_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    let ok = text == "*"
        || text
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| !authority.as_str().contains('@'));
    ok.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "a host name or address, with a port or without, or *".to_owned())
}

fn parse_allowed_origin(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let origin = text.parse::<http::Uri>().is_ok_and(|url| {
        url.scheme().is_some() && url.host().is_some() && url.path().trim_matches('/').is_empty()
    });
    (text == "*" || text == "null" || origin)
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "an origin of the form https://host or https://host:port, null, or *".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_our_own_or_with_a_pattern_is_refused() {
        assert!(parse_path("/mcp").is_ok() && parse_path("/a/b-c").is_ok() && parse_path("/").is_ok());
        for wrong in ["", "mcp", "/mcp/", "/livez", "/{all}", "/a//b", "/a?b", "/*rest"] {
            assert!(parse_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for right in [
            "127.0.0.1",
            "::1",
            "[::1]",
            "0.0.0.0",
            "localhost",
            "mcp.internal",
        ] {
            assert!(parse_host(right).is_ok(), "{right}");
        }
        for wrong in ["", "a b", "localhost:80", "http://x"] {
            assert!(parse_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        assert_eq!(
            parse_allowed_origin("https://App.example/"),
            Ok("https://app.example".to_owned())
        );
        for wrong in ["app.example", "https://app.example/x", ""] {
            assert!(parse_allowed_origin(wrong).is_err(), "{wrong}");
        }
    }
}
