//! What is around the MCP endpoint, on the wire.

#![expect(clippy::unwrap_used, reason = "a test that can not go on should say where")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dynamic_mcp_control_plane::auth::Gate;
use dynamic_mcp_control_plane::http::{
    HttpState, Metrics, OriginPolicy, RequestId, ServerConfig, router, serve,
};
use dynamic_mcp_control_plane::principal::Access;
use dynamic_mcp_control_plane::runtimes::Runtimes;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A process has one recorder.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install(tokio::time::Instant::now()).unwrap());

struct TestServer {
    address: SocketAddr,
    readiness: Readiness,
    lifecycle: Lifecycle,
    serving: JoinSet<bool>,
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

/// Stands where MCP does: says what it was given, slowly at `?slow`, for ever at `?endless`.
async fn echo(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if query == "endless" {
        return Ok(Response::new(Body::from_stream(futures::stream::pending::<
            Result<Bytes, Infallible>,
        >())));
    }
    if query == "slow" {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let extensions = request.extensions();
    let said = json!({
        "requestId": extensions.get::<RequestId>().unwrap().0,
        "header": request.headers()["x-request-id"].to_str().unwrap(),
        "tenant": extensions.get::<Access>().unwrap().principal.tenant.as_str(),
    });
    Ok(Response::new(Body::from(said.to_string())))
}

async fn start() -> TestServer {
    start_with(ServerConfig { max_connections: 100 }).await
}

async fn start_with(config: ServerConfig) -> TestServer {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let state = HttpState {
        runtimes: Arc::new(Runtimes::new(Arc::default(), None)),
        readiness: readiness.clone(),
        gate: Arc::new(Gate::open()),
        metrics: METRICS.clone(),
        path: "/mcp".to_owned(),
        origins: Arc::new(OriginPolicy::new(
            "127.0.0.1",
            &[],
            &["https://app.example".to_owned()],
        )),
        max_request_bytes: 1_024,
    };
    let router = router(tower::service_fn(echo), state);
    let mut serving = JoinSet::new();
    serving.spawn(serve(
        listener,
        router,
        config,
        readiness.clone(),
        lifecycle.clone(),
    ));
    TestServer {
        address,
        readiness,
        lifecycle,
        serving,
    }
}

impl TestServer {
    /// Whether it ended with every task.
    async fn ended(&mut self) -> bool {
        self.serving.join_next().await.unwrap().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }
}

/// Reads to the end of the connection.
async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {text:?}"));
    let (status_line, headers) = head.split_once("\r\n").unwrap();
    Answer {
        status: status_line.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

#[tokio::test]
async fn every_answer_carries_the_hardening_headers_and_a_request_id() {
    let server = start().await;
    let malicious = "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let large = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n";
    let wrong_method = "POST /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answers = vec![
        (200, server.get("/livez").await),
        (503, server.get("/readyz").await),
        (200, server.get("/metrics").await),
        (200, server.get("/mcp").await),
        (404, server.get("/nothing").await),
    ];
    for (status, request) in [(403, malicious), (413, large), (405, wrong_method)] {
        answers.push((status, server.send(request).await));
    }
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("deny"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
    }
}

#[tokio::test]
async fn the_request_id_of_the_client_is_taken_over_when_it_is_sane() {
    let server = start().await;
    let ask = async |id: &str| {
        let head = format!(
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n"
        );
        server.send(&head).await
    };
    let answer = ask("req-42").await;
    assert_eq!(answer.header("x-request-id"), Some("req-42"));
    assert_eq!(
        answer.json(),
        json!({ "requestId": "req-42", "header": "req-42", "tenant": "default" })
    );

    let answer = ask(&"x".repeat(129)).await;
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(
        (
            answer.json()["requestId"].as_str(),
            answer.json()["header"].as_str()
        ),
        (Some(id), Some(id))
    );
}

#[tokio::test]
async fn readiness_follows_the_load_and_names_what_is_degraded() {
    let server = start().await;
    assert_eq!(
        server.get("/readyz").await.json(),
        json!({ "ready": false, "status": "starting" })
    );
    server.readiness.set_loaded();
    server.readiness.degrade("registry", "no answer");
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({ "ready": true, "status": "degraded", "degraded": { "registry": "no answer" } })
    );
}

#[tokio::test]
async fn the_metrics_of_the_contract_are_there_from_the_first_scrape() {
    let server = start().await;
    let answer = server.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for name in [
        "dynamic_mcp_process_uptime_seconds",
        "dynamic_mcp_http_sessions_active",
        "dynamic_mcp_http_sessions_created_total",
        "dynamic_mcp_http_sessions_expired_total",
        "dynamic_mcp_http_auth_success_total",
        "dynamic_mcp_http_auth_denied_total",
    ] {
        let found = answer
            .body
            .lines()
            .any(|line| line.starts_with(&format!("{name} ")));
        assert!(found, "{name} is not in\n{}", answer.body);
    }
}

#[tokio::test]
async fn pages_of_other_sites_and_rebound_names_are_refused_in_json_rpc() {
    let server = start().await;
    for (headers, reason) in [
        ("Host: evil.example", "host"),
        ("Host: localhost\r\nOrigin: https://evil.example", "origin"),
        ("Host: localhost\r\nOrigin: null", "origin"),
    ] {
        let answer = server
            .send(&format!(
                "POST /mcp HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.status, 403);
        let body = answer.json();
        assert_eq!(
            (&body["jsonrpc"], &body["error"]["data"]["reason"]),
            (&json!("2.0"), &json!(reason))
        );
    }
    let same =
        "POST /mcp HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(same).await.status, 200);
}

#[tokio::test]
async fn a_page_that_is_named_may_ask_first_and_read_the_answer() {
    let server = start().await;
    let ask = async |method: &str, headers: &str| {
        let head = format!("{method} /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        server.send(&head).await
    };
    let preflight =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: mcp-session-id\r\n";
    let answer = ask("OPTIONS", &format!("Origin: https://app.example\r\n{preflight}")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("mcp-session-id")
    );

    let answer = ask("POST", "Origin: https://app.example\r\n").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );

    // Allowed to call because it is local, as a command-line client would be, but not to read.
    let answer = ask("POST", "Origin: http://localhost:3000\r\n").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, None)
    );
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_before_it_is_sent() {
    let server = start().await;
    let answer = server
        .send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\r\n")
        .await;
    assert_eq!(answer.status, 413);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("1024") && message.contains("MCP_HTTP_MAX_REQUEST_BYTES"),
        "{message}"
    );
}

#[tokio::test]
async fn unknown_paths_are_answered_in_json() {
    let server = start().await;
    assert_eq!(
        server.get("/mcp/").await.json()["error"]["code"],
        json!("not_found")
    );
}

#[tokio::test]
async fn shutdown_lets_a_request_finish_and_says_to_others_that_it_drains() {
    let mut server = start().await;
    server.readiness.set_loaded();
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /mcp?slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    server.lifecycle.begin_shutdown();
    assert_eq!(
        idle.read(&mut [0]).await.unwrap(),
        0,
        "an idle connection is closed"
    );
    let probe = server.get("/readyz").await;
    assert_eq!(
        (probe.status, probe.body.contains("draining")),
        (503, true),
        "{}",
        probe.body
    );
    assert_eq!(read_answer(&mut busy).await.status, 200);
    assert!(server.ended().await);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_connection_that_came_late_and_says_nothing_holds_nobody_up() {
    let mut server = start().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /mcp?slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.lifecycle.begin_shutdown();
    let _silent = server.connect().await;
    let ended = tokio::time::timeout(Duration::from_secs(2), server.ended()).await;
    assert_eq!(ended, Ok(true));
}

#[tokio::test]
async fn an_answer_without_end_ends_soon_after_the_grace_time() {
    let mut server = start().await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /mcp?endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
    server.lifecycle.begin_shutdown();
    server.lifecycle.hard().cancel();
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_a_place() {
    let server = start_with(ServerConfig { max_connections: 1 }).await;
    let holder = server.connect().await;
    let mut waiting = server.connect().await;
    waiting
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.peek(&mut [0])).await;
    assert!(early.is_err(), "it is answered before its turn");
    drop(holder);
    assert_eq!(read_answer(&mut waiting).await.status, 200);
}
