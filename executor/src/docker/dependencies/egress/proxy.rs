//! One connection of npm's: what it asks for, whether it gets it, and the bytes that it carries then.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::request::{self, Parsed, Request};
use super::{Denied, Egress};

const HEAD: Duration = Duration::from_secs(10);
const CHUNK: usize = 16 * 1024;

impl Egress {
    /// Answers one connection and carries it to its end, or until the install ends and this is dropped.
    pub(super) async fn serve(&self, mut client: impl AsyncRead + AsyncWrite + Unpin) {
        let status = match self.open(&mut client).await {
            Ok((upstream, early)) => {
                self.carry(client, upstream, &early).await;
                return;
            }
            Err(status) => status,
        };
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        // A client that is gone needs no answer.
        let _gone = client.write_all(answer.as_bytes()).await;
        let _gone = client.shutdown().await;
    }

    /// The connection to the registry, and what goes to it first; or the status that is all the client gets.
    async fn open(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(TcpStream, Vec<u8>), &'static str> {
        let (request, rest) = timeout(HEAD, read_request(client))
            .await
            .map_err(|_| "408 Request Timeout")?
            .ok_or("400 Bad Request")?;
        let (host, port) = request.target();
        let registry = &self.registry;
        let secure = matches!(request, Request::Connect { .. });
        if (host, port, secure) != (registry.host.as_str(), registry.port, registry.secure) {
            self.deny(Denied::Elsewhere(format!("{host}:{port}"), registry.to_string()));
            return Err("403 Forbidden");
        }
        let upstream = self.dial().await.map_err(|denied| {
            let status = match &denied {
                Denied::Address { .. } => "403 Forbidden",
                _ => "502 Bad Gateway",
            };
            self.deny(denied);
            status
        })?;
        match request {
            Request::Connect { .. } => {
                let established = client
                    .write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                    .await;
                established.map_err(|_| "400 Bad Request")?;
                Ok((upstream, rest))
            }
            Request::Plain { head, .. } => Ok((upstream, [head, rest].concat())),
        }
    }

    async fn carry(&self, client: impl AsyncRead + AsyncWrite + Unpin, upstream: TcpStream, early: &[u8]) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_registry, mut to_registry) = upstream.into_split();
        if to_registry.write_all(early).await.is_err() {
            return;
        }
        tokio::join!(
            self.copy(from_client, to_registry),
            self.copy(from_registry, to_client)
        );
    }

    async fn copy(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut chunk = vec![0; CHUNK];
        // Either side's end is the other's end too, which its own reading finds out.
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            if let Err(denied) = self.spend(count as u64) {
                self.deny(denied);
                break;
            }
            if to.write_all(&chunk[..count]).await.is_err() {
                break;
            }
        }
        let _gone = to.shutdown().await;
    }
}

/// And what came after it. `None` when there is none.
async fn read_request(client: &mut (impl AsyncRead + Unpin)) -> Option<(Request, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 2_048];
        let count = client.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        match request::parse(&bytes).ok()? {
            Parsed::Whole(request, length) => return Some((request, bytes.split_off(length))),
            Parsed::Partial => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::net::TcpListener;

    use super::*;
    use crate::docker::dependencies::egress::Resolver;
    use crate::docker::dependencies::lock::Registry;
    use crate::engine::ResolveError;

    /// Says the next of its answers each time.
    struct Scripted {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Resolver for Scripted {
        async fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            Ok(self.answers[asked.min(self.answers.len() - 1)].clone())
        }
    }

    fn egress(registry: &str, addresses: &[&[&str]], networks: &[&str]) -> Egress {
        let answers = addresses
            .iter()
            .map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect())
            .collect();
        let resolver = Scripted {
            answers,
            asked: AtomicUsize::new(0),
        };
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let registry = Registry::parse(registry).unwrap();
        Egress::new(registry.endpoint().clone(), networks, Arc::new(resolver))
    }

    /// A registry on loopback that answers whatever comes with the same bytes, and says once what came.
    async fn registry() -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = tokio::task::JoinSet::new();
        let (told, heard) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4_096];
            let count = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(count);
            stream.write_all(b"pong").await.unwrap();
            let _ = told.send(bytes);
        });
        let served = async move {
            let heard = heard.await.unwrap();
            tasks.join_all().await;
            heard
        };
        (port, tokio::runtime::Handle::current().spawn(served))
    }

    async fn ask(egress: &Egress, request: &str) -> String {
        let (mut npm, ours) = tokio::io::duplex(64 * 1024);
        let asking = async {
            npm.write_all(request.as_bytes()).await.unwrap();
            npm.shutdown().await.unwrap();
            let mut answer = String::new();
            npm.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(egress.serve(ours), asking);
        answer
    }

    #[tokio::test]
    async fn a_tunnel_to_the_registry_carries_bytes_both_ways() {
        let (port, heard) = registry().await;
        let egress = egress(
            &format!("https://npm.internal:{port}/"),
            &[&["127.0.0.1"]],
            &["127.0.0.0/8"],
        );
        let answer = ask(
            &egress,
            &format!("CONNECT npm.internal:{port} HTTP/1.1\r\n\r\nping"),
        )
        .await;
        assert_eq!(answer, "HTTP/1.1 200 Connection Established\r\n\r\npong");
        assert_eq!(heard.await.unwrap(), b"ping");
        assert_eq!(egress.explanation(), None);
    }

    #[tokio::test]
    async fn a_plain_registry_gets_the_request_as_if_it_were_asked_directly() {
        let (port, heard) = registry().await;
        let egress = egress(
            &format!("http://npm.internal:{port}/"),
            &[&["127.0.0.1"]],
            &["127.0.0.0/8"],
        );
        let request = format!("GET http://npm.internal:{port}/a HTTP/1.1\r\nHost: npm.internal\r\n\r\n");
        assert_eq!(ask(&egress, &request).await, "pong");
        let heard = String::from_utf8(heard.await.unwrap()).unwrap();
        assert!(heard.starts_with("GET /a HTTP/1.1\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn whatever_is_not_the_registry_is_refused_and_told_to_the_author() {
        for request in [
            "CONNECT github.com:443 HTTP/1.1\r\n\r\n",
            "CONNECT npm.internal:22 HTTP/1.1\r\n\r\n",
            "CONNECT npm.internal.evil:443 HTTP/1.1\r\n\r\n",
            "CONNECT 169.254.169.254:443 HTTP/1.1\r\n\r\n",
            "GET http://npm.internal:443/ HTTP/1.1\r\n\r\n",
        ] {
            let egress = egress("https://npm.internal/", &[&["104.16.0.35"]], &[]);
            let answer = ask(&egress, request).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
            let told = egress.explanation();
            assert!(
                matches!(told, Some(ResolveError::Refused(_))),
                "{request}: {told:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_registry_at_an_address_of_the_inside_is_not_dialled() {
        for addresses in [
            &["127.0.0.1"][..],
            &["104.16.0.35", "10.0.0.1"],
            &["fd00:ec2::254"],
        ] {
            let egress = egress("https://npm.internal/", &[addresses], &[]);
            let answer = ask(&egress, "CONNECT npm.internal:443 HTTP/1.1\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{addresses:?}: {answer}");
            let Some(ResolveError::Unavailable(why)) = egress.explanation() else {
                panic!("{addresses:?} is not the operator's")
            };
            assert!(why.contains("MCP_SANDBOX_NPM_REGISTRY_NETWORKS"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_address_is_dialled_where_it_was_checked() {
        let (port, heard) = registry().await;
        let egress = egress(
            &format!("https://npm.internal:{port}/"),
            &[&["127.0.0.1"], &["169.254.169.254"]],
            &["127.0.0.0/8"],
        );
        let request = format!("CONNECT npm.internal:{port} HTTP/1.1\r\n\r\nping");
        assert!(ask(&egress, &request).await.ends_with("pong"));
        assert_eq!(heard.await.unwrap(), b"ping");
        // And the next connection is checked anew.
        assert!(ask(&egress, &request).await.starts_with("HTTP/1.1 403 "));
    }

    #[tokio::test]
    async fn a_registry_that_does_not_answer_is_the_platforms_fault() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let egress = egress(
            &format!("https://npm.internal:{port}/"),
            &[&["127.0.0.1"]],
            &["127.0.0.0/8"],
        );
        let answer = ask(&egress, &format!("CONNECT npm.internal:{port} HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(matches!(egress.explanation(), Some(ResolveError::Unavailable(_))));
    }

    #[tokio::test]
    async fn what_is_no_request_gets_a_bad_one() {
        let egress = egress("https://npm.internal/", &[&["104.16.0.35"]], &[]);
        for request in ["", "\u{16}\u{3}\u{1}", "GET / HTTP/1.1\r\n\r\n"] {
            assert!(
                ask(&egress, request).await.starts_with("HTTP/1.1 400 "),
                "{request:?}"
            );
        }
    }

    #[tokio::test]
    async fn more_than_an_install_may_fetch_ends_it() {
        let (port, _heard) = registry().await;
        let egress = egress(
            &format!("https://npm.internal:{port}/"),
            &[&["127.0.0.1"]],
            &["127.0.0.0/8"],
        );
        egress.left.store(3, Ordering::Relaxed);
        let request = format!("CONNECT npm.internal:{port} HTTP/1.1\r\n\r\nping");
        assert!(!ask(&egress, &request).await.contains("pong"));
        assert!(matches!(egress.explanation(), Some(ResolveError::Refused(_))));
    }
}
