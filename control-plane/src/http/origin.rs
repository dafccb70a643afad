//! Against DNS rebinding and other sites' pages (the MCP specification, "Transports", Security Warning): a page that
//! resolves its own name to this server's address sends that name as `Host`, and a page elsewhere sends its own `Origin`.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

/// Which names clients may use for this server, and which pages may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPolicy {
    bind_host: String,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("the Host {0:?} is not one of this server; add it to MCP_HTTP_ALLOWED_HOSTS if it is")]
    Host(String),
    #[error(
        "pages of the Origin {0:?} may not call this server; add it to MCP_HTTP_ALLOWED_ORIGINS if they may"
    )]
    Origin(String),
}

impl Denied {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Denied::Host(_) => "host",
            Denied::Origin(_) => "origin",
        }
    }
}

impl OriginPolicy {
    /// `bind_host` is `MCP_HOST`. An allowed host without a port is allowed with every port; `*` allows everything.
    pub fn new(bind_host: &str, allowed_hosts: &[String], allowed_origins: &[String]) -> Self {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        Self {
            bind_host: bind_host.to_ascii_lowercase(),
            allowed_hosts: lower(allowed_hosts),
            allowed_origins: lower(allowed_origins),
        }
    }

    /// Answers the page's origin when it is named among the allowed ones.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Denied> {
        let host = self.check_host(uri, headers)?;
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(sent) = origins.next() else {
            return Ok(None);
        };
        let origin = sent.to_str().unwrap_or_default().to_ascii_lowercase();
        if origins.next().is_some() {
            return Err(Denied::Origin(shown(&origin)));
        }
        if self
            .allowed_origins
            .iter()
            .any(|allowed| allowed == "*" || *allowed == origin)
        {
            return Ok(Some(sent.clone()));
        }
        if is_own_or_local(&origin, &host) {
            Ok(None)
        } else {
            Err(Denied::Origin(shown(&origin)))
        }
    }

    /// The request's host. A request may name it in its target as well as in its header; it must be allowed in both.
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Denied> {
        let mut named = None;
        let in_target = uri.authority().map(|authority| authority.as_str().as_bytes());
        let in_headers = headers.get_all(header::HOST).iter().map(|value| value.as_bytes());
        for bytes in in_target.into_iter().chain(in_headers) {
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            let denied = || Denied::Host(shown(&text));
            let host: Authority = text.parse().map_err(|_| denied())?;
            if text.contains('@') || !self.allows_host(&host) {
                return Err(denied());
            }
            named = Some(host);
        }
        named.ok_or_else(|| Denied::Host(String::new()))
    }

    fn allows_host(&self, host: &Authority) -> bool {
        let name = bare(host.host());
        is_loopback(name)
            || name == self.bind_host
            || self.allowed_hosts.iter().any(|allowed| {
                allowed == "*" || allowed == host.as_str() || allowed == host.host() || allowed == name
            })
    }
}

/// A page of this very server, or one that this machine serves itself.
fn is_own_or_local(origin: &str, host: &Authority) -> bool {
    authority_of(origin).is_some_and(|page| page == *host || is_loopback(bare(page.host())))
}

/// `None` for `null` and whatever else is no page's origin.
fn authority_of(origin: &str) -> Option<Authority> {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))?;
    let authority: Authority = rest.parse().ok()?;
    (!rest.contains('@')).then_some(authority)
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(hosts: &[&str], origins: &[&str]) -> OriginPolicy {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        OriginPolicy::new("10.0.0.5", &owned(hosts), &owned(origins))
    }

    fn check(policy: &OriginPolicy, host: &str, origin: Option<&str>) -> Result<bool, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let page = policy.check(&Uri::from_static("/mcp"), &headers);
        page.map(|named| named.is_some())
            .map_err(|denied| denied.reason())
    }

    #[test]
    fn a_rebound_name_is_denied_and_our_own_are_not() {
        let policy = policy(&[], &[]);
        for host in [
            "localhost:8788",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]:8788",
            "app.localhost",
            "10.0.0.5:8788",
            "LOCALHOST",
        ] {
            assert_eq!(check(&policy, host, None), Ok(false), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8788",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.6",
            "a@localhost",
            "",
        ] {
            assert_eq!(check(&policy, host, None), Err("host"), "{host}");
        }
    }

    #[test]
    fn an_allowed_host_may_fix_the_port() {
        let policy = policy(&["Mcp.Example", "api.example:443"], &[]);
        assert_eq!(check(&policy, "mcp.example:1234", None), Ok(false));
        assert_eq!(check(&policy, "api.example:443", None), Ok(false));
        assert_eq!(check(&policy, "api.example:80", None), Err("host"));
        assert_eq!(
            check(&self::policy(&["*"], &[]), "anything.example", None),
            Ok(false)
        );
    }

    #[test]
    fn only_our_own_pages_and_allowed_ones_may_call() {
        let policy = policy(&["mcp.example"], &["https://app.example", "null"]);
        for origin in [
            "https://mcp.example",
            "http://localhost:3000",
            "http://[::1]:5173",
        ] {
            assert_eq!(check(&policy, "mcp.example", Some(origin)), Ok(false), "{origin}");
        }
        for origin in ["https://APP.example", "null"] {
            assert_eq!(check(&policy, "mcp.example", Some(origin)), Ok(true), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "https://app.example.evil",
            "http://app.example",
            "https://mcp.example:444",
            "file://",
            "",
            "http://x@localhost",
        ] {
            assert_eq!(
                check(&policy, "mcp.example", Some(origin)),
                Err("origin"),
                "{origin}"
            );
        }
        assert_eq!(
            check(&self::policy(&[], &[]), "localhost", Some("null")),
            Err("origin")
        );
    }

    #[test]
    fn a_host_in_the_target_must_be_allowed_too() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://evil.example/mcp");
        assert!(policy(&[], &[]).check(&uri, &headers).is_err());
        assert!(
            policy(&[], &[])
                .check(&Uri::from_static("/mcp"), &HeaderMap::new())
                .is_err()
        );
    }

    #[test]
    fn a_second_host_or_origin_does_not_hide_behind_the_first() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(
            policy(&[], &[])
                .check(&Uri::from_static("/mcp"), &headers)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_host_or_origin_is_allowed_for_what_stands_around_a_foreign_name(
            before in "[a-z0-9@:.\\[\\]%-]{0,12}",
            after in "(:[0-9]{0,6})?[a-z0-9@:.\\[\\]%/?#-]{0,12}",
        ) {
            let policy = policy(&["mcp.example"], &["https://app.example"]);
            let foreign = format!("{before}evil.test{after}");
            // What a browser would take for the name: an address with a user in front is refused whatever follows.
            let host: Option<Authority> = foreign.parse().ok();
            let is_local = host.as_ref().is_some_and(|host| bare(host.host()).ends_with(".localhost"));
            let denied = check(&policy, &foreign, None) == Err("host");
            prop_assert!(denied || (is_local && !foreign.contains('@')), "{}", foreign);
            for scheme in ["https", "http"] {
                let origin = format!("{scheme}://{foreign}");
                let denied = check(&policy, "mcp.example", Some(&origin)) == Err("origin");
                prop_assert!(denied || is_local, "{}", origin);
            }
        }

        #[test]
        fn no_bytes_are_too_much(host in prop::collection::vec(any::<u8>(), 0..40), origin in prop::collection::vec(any::<u8>(), 0..40)) {
            let (Ok(host), Ok(origin)) = (HeaderValue::from_bytes(&host), HeaderValue::from_bytes(&origin)) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(header::HOST, host), (header::ORIGIN, origin)]);
            let _ = policy(&["mcp.example"], &["null"]).check(&Uri::from_static("/mcp"), &headers);
        }
    }
}
