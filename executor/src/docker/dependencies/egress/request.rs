//! The first lines of a connection, as a client of a proxy writes them: `CONNECT host:port` for https, the whole URL for
//! http. Pure.

use std::net::Ipv6Addr;

use http::Uri;
use http::uri::Authority;

pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Of a name in DNS.
const MAX_HOST_CHARS: usize = 253;
/// Of one connection, and none of the server's business.
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A tunnel, whatever goes through it.
    Connect { host: String, port: u16 },
    /// One exchange in plain text: what is to be sent in place of the head that came.
    Plain { host: String, port: u16, head: Vec<u8> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    /// And how long the head was; what came after it belongs to what is carried.
    Whole(Request, usize),
    Partial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Request {
    pub(super) fn target(&self) -> (&str, u16) {
        match self {
            Request::Connect { host, port } | Request::Plain { host, port, .. } => (host, *port),
        }
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(Parsed::Partial),
        _ => return Err(Malformed),
    };
    let (Some(method), Some(path)) = (request.method, request.path) else {
        return Err(Malformed);
    };
    let request = if method == "CONNECT" {
        let authority: Authority = path.parse().map_err(|_| Malformed)?;
        let port = authority.port_u16().ok_or(Malformed)?;
        let host = host_of(&authority).ok_or(Malformed)?;
        Request::Connect { host, port }
    } else {
        plain(method, path, request.headers)?
    };
    Ok(Parsed::Whole(request, length))
}

fn plain(method: &str, path: &str, headers: &[httparse::Header<'_>]) -> Result<Request, Malformed> {
    let url: Uri = path.parse().map_err(|_| Malformed)?;
    if url.scheme_str() != Some("http") {
        return Err(Malformed);
    }
    let authority = url.authority().ok_or(Malformed)?;
    let host = host_of(authority).ok_or(Malformed)?;
    let port = authority.port_u16().unwrap_or(80);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        let name = header.name.to_ascii_lowercase();
        if name == "host" || HOP_BY_HOP.contains(&name.as_str()) {
            continue;
        }
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Ok(Request::Plain { host, port, head })
}

/// In lower case; an IPv6 address without its brackets. `None` with anything in it but a host and a port.
pub(in super::super) fn host_of(authority: &Authority) -> Option<String> {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host)?;
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|address| address.parse::<Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|name| name.bytes().all(is_of_a_name))?,
    };
    (1..=MAX_HOST_CHARS)
        .contains(&bare.len())
        .then(|| bare.to_ascii_lowercase())
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Ok(Parsed::Whole(request, length)) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_tunnel_names_a_host_and_a_port() {
        for (target, host, port) in [
            ("registry.npmjs.org:443", "registry.npmjs.org", 443),
            ("NPM.Internal:4873", "npm.internal", 4873),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            let request = whole(&format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(request.target(), (host, port));
        }
    }

    #[test]
    fn a_plain_request_is_written_anew_for_the_server_it_names() {
        let request = whole(
            "GET http://npm.internal:4873/a?b=c HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\nAccept: */*\r\n\
             Connection: keep-alive\r\n\r\n",
        );
        let Request::Plain { host, port, head } = request else {
            panic!("not plain")
        };
        assert_eq!((host.as_str(), port), ("npm.internal", 4873));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "GET /a?b=c HTTP/1.1\r\nHost: npm.internal:4873\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn what_is_neither_is_malformed() {
        for wrong in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET https://registry.npmjs.org/ HTTP/1.1\r\n\r\n",
            "GET ftp://x/ HTTP/1.1\r\n\r\n",
            "GET http://user@npm.internal/ HTTP/1.1\r\n\r\n",
            "CONNECT registry.npmjs.org HTTP/1.1\r\n\r\n",
            "CONNECT user@registry.npmjs.org:443 HTTP/1.1\r\n\r\n",
            "CONNECT http://x:443/ HTTP/1.1\r\n\r\n",
            "CONNECT :443 HTTP/1.1\r\n\r\n",
            "CONNECT a[]:443 HTTP/1.1\r\n\r\n",
            "CONNECT [a]b:443 HTTP/1.1\r\n\r\n",
            "CONNECT [registry.npmjs.org]:443 HTTP/1.1\r\n\r\n",
            "CONNECT [::1]x:443 HTTP/1.1\r\n\r\n",
            "CONNECT x:99999 HTTP/1.1\r\n\r\n",
            "GET http://x:99999/ HTTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert_eq!(parse(wrong.as_bytes()), Err(Malformed), "{wrong:?}");
        }
        let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "a".repeat(254));
        assert_eq!(parse(long.as_bytes()), Err(Malformed));
        let endless = format!("GET http://x/ HTTP/1.1\r\nA: {}", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse(endless.as_bytes()), Err(Malformed));
        assert_eq!(parse(b"CONNECT registry"), Ok(Parsed::Partial));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_target_is_never_read_as_another_ones(host in "[a-zA-Z0-9.@:/\\[\\]-]{1,40}") {
            if let Ok(Parsed::Whole(request, _)) = parse(format!("CONNECT {host} HTTP/1.1\r\n\r\n").as_bytes()) {
                let (name, port) = request.target();
                let bare = host.to_ascii_lowercase().replace(['[', ']'], "");
                prop_assert_eq!(bare.rsplit_once(':').map(|(name, _)| name), Some(name));
                prop_assert!(bare.ends_with(&port.to_string()));
            }
        }
    }
}
