//! What somebody is told who is not let in: how to get a token (RFC 9728) and what was wrong with this one (RFC 6750).

use http::header::{HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{Denied, ScopeNames};
use crate::principal::Right;

/// Where RFC 9728 puts the metadata of a resource, before the resource's own path.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// What clients call this server, in their requests for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceUrl {
    /// As the operator says.
    Fixed(String),
    /// As the request says, whose host has been checked: over TLS unless it is this machine. With the path of the endpoint.
    ByHost(String),
}

#[derive(Debug)]
pub struct Challenger {
    pub resource: ResourceUrl,
    pub issuer: String,
    pub scopes: ScopeNames,
}

impl Challenger {
    /// The document of RFC 9728, section 2.
    pub fn metadata(&self, headers: &HeaderMap) -> Value {
        json!({
            "resource": self.resource(headers),
            "authorization_servers": [self.issuer],
            "scopes_supported": self.scopes.all(),
            "bearer_methods_supported": ["header"],
            "resource_name": "dynamic-mcp",
        })
    }

    /// The headers that go with a refusal.
    pub fn headers(&self, denied: &Denied, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        if *denied == Denied::NoKeys {
            return vec![(RETRY_AFTER, RETRY_SECONDS)];
        }
        let challenge = self.challenge(denied, request);
        HeaderValue::from_str(&challenge)
            .map(|value| (WWW_AUTHENTICATE, value))
            .into_iter()
            .collect()
    }

    fn challenge(&self, denied: &Denied, request: &HeaderMap) -> String {
        let (error, scopes) = match denied {
            Denied::Missing | Denied::NoKeys => (None, self.scopes.needed(Right::Call)),
            Denied::Malformed(_) => (Some("invalid_request"), self.scopes.needed(Right::Call)),
            Denied::Invalid(_) => (Some("invalid_token"), self.scopes.needed(Right::Call)),
            Denied::Scope { needed, .. } => (Some("insufficient_scope"), needed.clone()),
        };
        let mut parameters = Vec::new();
        if let Some(error) = error {
            parameters.push(format!("error=\"{error}\""));
            parameters.push(format!("error_description=\"{}\"", quotable(&denied.to_string())));
        }
        parameters.push(format!("scope=\"{}\"", quotable(&scopes.join(" "))));
        let metadata = metadata_url(&self.resource(request));
        parameters.push(format!("resource_metadata=\"{}\"", quotable(&metadata)));
        format!("Bearer {}", parameters.join(", "))
    }

    /// Where the metadata is looked for on this server: where the challenge says, and at the root, where some clients look.
    pub fn metadata_paths(&self, endpoint: &str) -> Vec<String> {
        let url = match &self.resource {
            ResourceUrl::Fixed(url) => metadata_url(url),
            ResourceUrl::ByHost(_) => String::new(),
        };
        let told = url.find(WELL_KNOWN).map(|at| url[at..].to_owned());
        let beside = format!("{WELL_KNOWN}{}", endpoint.trim_end_matches('/'));
        let mut paths: Vec<String> = [Some(WELL_KNOWN.to_owned()), Some(beside), told]
            .into_iter()
            .flatten()
            .filter(|path| !path.contains(['{', '}', '*', '?', '#']))
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn resource(&self, headers: &HeaderMap) -> String {
        match &self.resource {
            ResourceUrl::Fixed(url) => url.clone(),
            ResourceUrl::ByHost(path) => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let host = host.unwrap_or("localhost");
                let scheme = if is_this_machine(host) { "http" } else { "https" };
                format!("{scheme}://{host}{path}")
            }
        }
    }
}

impl Denied {
    /// RFC 6750, section 3.1.
    pub fn status(&self) -> StatusCode {
        match self {
            Denied::Missing | Denied::Invalid(_) => StatusCode::UNAUTHORIZED,
            Denied::Malformed(_) => StatusCode::BAD_REQUEST,
            Denied::Scope { .. } => StatusCode::FORBIDDEN,
            Denied::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The well-known part goes between the host and the path (RFC 9728, section 3.1).
fn metadata_url(resource: &str) -> String {
    let after_scheme = resource.find("://").map_or(0, |at| at + 3);
    let path = resource[after_scheme..]
        .find('/')
        .map_or(resource.len(), |at| after_scheme + at);
    let (origin, path) = resource.split_at(path);
    format!("{origin}{WELL_KNOWN}{}", path.trim_end_matches('/'))
}

fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What may stand between quotes there (RFC 6750, section 3).
fn quotable(text: &str) -> String {
    let fits = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
    text.chars().map(|c| if fits(c) { c } else { '\'' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenger(resource: ResourceUrl) -> Challenger {
        Challenger {
            resource,
            issuer: "https://issuer.example".to_owned(),
            scopes: ScopeNames {
                always: vec!["openid".to_owned()],
                ..ScopeNames::default()
            },
        }
    }

    fn at(host: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))])
    }

    fn challenge(denied: &Denied) -> String {
        let challenger = challenger(ResourceUrl::Fixed("https://mcp.example/mcp".to_owned()));
        let headers = challenger.headers(denied, &HeaderMap::new());
        headers[0].1.to_str().unwrap().to_owned()
    }

    #[test]
    fn without_a_token_there_is_no_error_code_but_the_way_to_get_one() {
        assert_eq!(
            challenge(&Denied::Missing),
            "Bearer scope=\"openid mcp:call\", \
             resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\""
        );
    }

    #[test]
    fn all_scopes_that_are_needed_come_in_one_challenge() {
        let denied = Denied::Scope {
            missing: vec!["mcp:write".to_owned()],
            needed: vec!["openid".to_owned(), "mcp:write".to_owned()],
        };
        let text = challenge(&denied);
        assert!(
            text.starts_with(
                "Bearer error=\"insufficient_scope\", error_description=\"the access token lacks the scope mcp:write\", \
                 scope=\"openid mcp:write\", resource_metadata="
            ),
            "{text}"
        );
    }

    #[test]
    fn nothing_that_a_token_says_leaves_the_quotes() {
        let text = challenge(&Denied::Invalid(
            "the issuer is \"evil\\\", x=\"\r\n\u{e9}".to_owned(),
        ));
        assert_eq!(text.matches('"').count(), 8, "{text}");
        assert!(text.is_ascii() && !text.contains('\\'), "{text}");
    }

    #[test]
    fn the_metadata_lies_between_host_and_path() {
        for (resource, metadata) in [
            (
                "https://a.example/mcp",
                "https://a.example/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "http://a:1/b/c",
                "http://a:1/.well-known/oauth-protected-resource/b/c",
            ),
        ] {
            assert_eq!(metadata_url(resource), metadata);
        }
    }

    #[test]
    fn the_metadata_is_where_the_challenge_says_and_at_the_root() {
        let paths = |resource| challenger(resource).metadata_paths("/mcp");
        let beside = [WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}/mcp")];
        assert_eq!(paths(ResourceUrl::ByHost("/mcp".to_owned())), beside);
        assert_eq!(
            paths(ResourceUrl::Fixed("https://a.example/mcp".to_owned())),
            beside
        );
        assert_eq!(
            paths(ResourceUrl::Fixed("https://a.example/tools/mcp".to_owned())),
            [&beside[..], &[format!("{WELL_KNOWN}/tools/mcp")]].concat()
        );
        let root = challenger(ResourceUrl::Fixed("https://a.example".to_owned()));
        assert_eq!(root.metadata_paths("/"), [WELL_KNOWN]);
    }

    #[test]
    fn a_resource_without_a_name_is_called_as_the_client_calls_it() {
        let challenger = challenger(ResourceUrl::ByHost("/mcp".to_owned()));
        for (host, resource) in [
            ("localhost:8788", "http://localhost:8788/mcp"),
            ("127.0.0.1:8788", "http://127.0.0.1:8788/mcp"),
            ("[::1]:8788", "http://[::1]:8788/mcp"),
            ("mcp.example", "https://mcp.example/mcp"),
        ] {
            assert_eq!(challenger.metadata(&at(host))["resource"], resource);
        }
    }
}
