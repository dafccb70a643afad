//! A load balancer of the plainest kind, in front of several replicas: each request goes to the next one in turn, whoever
//! sends it and over whichever connection it comes. Nothing sticks, so nothing may have to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// More than the product takes, so that it is the product that refuses.
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// How long a replica may take to take a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// The port of a replica that was killed may be anybody's by now, who takes connections and says nothing.
const SILENT: Duration = Duration::from_secs(90);
/// What speaks of one connection, and not of what comes over it.
const HOP_BY_HOP: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

pub struct RoundRobin {
    /// Where clients connect, without a path.
    pub base_url: String,
    replicas: Arc<Replicas>,
    /// Ends with the balancer.
    _serving: JoinSet<std::io::Result<()>>,
}

struct Replicas {
    state: Mutex<Turns>,
    client: reqwest::Client,
}

#[derive(Default)]
struct Turns {
    addresses: Vec<SocketAddr>,
    next: usize,
}

impl RoundRobin {
    /// # Errors
    /// When no port is free.
    pub async fn before(addresses: Vec<SocketAddr>) -> Result<Self> {
        let replicas = Arc::new(Replicas {
            state: Mutex::new(Turns { addresses, next: 0 }),
            // What it is told about is only where to connect: no proxy of the environment is in between, and where an
            // answer leads is the client's to follow.
            client: reqwest::Client::builder()
                .connect_timeout(CONNECT)
                .read_timeout(SILENT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()?,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(forward).with_state(replicas.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            base_url,
            replicas,
            _serving: serving,
        })
    }

    /// From the next request on these take turns; streams that are open go on.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        self.replicas.state.lock().addresses = addresses;
    }
}

impl Replicas {
    /// Everyone once, whose turn it is first.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let mut turns = self.state.lock();
        let mut addresses = turns.addresses.clone();
        if !addresses.is_empty() {
            addresses.rotate_left(turns.next % turns.addresses.len());
        }
        turns.next = turns.next.wrapping_add(1);
        addresses
    }

    async fn send(&self, to: SocketAddr, parts: &Parts, body: Bytes) -> reqwest::Result<reqwest::Response> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("http://{to}{path}");
        let request = self.client.request(parts.method.clone(), url);
        request
            .headers(end_to_end(&parts.headers))
            .body(body)
            .send()
            .await
    }
}

/// A replica that takes no connection is passed over; one that breaks off is not, since it may have done the work.
async fn forward(State(replicas): State<Arc<Replicas>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_REQUEST_BYTES).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    for address in replicas.in_turn() {
        match replicas.send(address, &parts, body.clone()).await {
            Ok(answer) => return translated(answer),
            Err(error) if error.is_connect() => {}
            Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// What comes is passed on as it comes; when either end goes away, so does the other.
fn translated(answer: reqwest::Response) -> Response {
    let (status, headers) = (answer.status(), end_to_end(answer.headers()));
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    async fn named(name: &'static str) -> Result<(SocketAddr, JoinSet<std::io::Result<()>>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(async move |request: Request<Body>| {
            let said = to_bytes(request.into_body(), 1_000).await.unwrap_or_default();
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(name)), Ok(said)]);
            // It never ends, so what arrives has not waited for the end.
            Body::from_stream(first.chain(futures::stream::pending()))
        });
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok((address, serving))
    }

    async fn asked(client: &reqwest::Client, balancer: &RoundRobin) -> Result<String> {
        let answer = client.post(&balancer.base_url).body("!").send().await?;
        let mut answer = answer.error_for_status()?;
        let mut text = String::new();
        while !text.ends_with('!') {
            let chunk = answer.chunk().await?.unwrap_or_default();
            text.push_str(std::str::from_utf8(&chunk)?);
        }
        Ok(text)
    }

    #[tokio::test]
    async fn requests_of_one_client_go_to_each_replica_in_turn_and_past_one_that_is_gone() -> Result<()> {
        let (first, _a) = named("a").await?;
        let (second, _b) = named("b").await?;
        let balancer = RoundRobin::before(vec![first, second]).await?;
        let client = reqwest::Client::new();
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(asked(&client, &balancer).await?);
        }
        assert_eq!(answers, ["a!", "b!", "a!", "b!"]);
        let unused = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        balancer.set(vec![unused, first]);
        for _ in 0..2 {
            assert_eq!(asked(&client, &balancer).await?, "a!");
        }
        balancer.set(vec![unused]);
        assert_eq!(client.post(&balancer.base_url).send().await?.status(), 503);
        Ok(())
    }
}
