//! The eras before 2026-07-28: a handshake, a session, and streams.

use std::time::Duration;

use axum::body::Body;
use dynamic_mcp_control_plane::mcp;
use dynamic_mcp_control_plane::principal::Access;
use http::Request;
use serde_json::{Value, json};

use crate::rig::{Answer, LEGACY, Rig, message, post};

/// A session as its client holds it.
pub struct Session<'a> {
    pub rig: &'a Rig,
    pub id: String,
}

impl<'a> Session<'a> {
    pub async fn begin(rig: &'a Rig) -> Self {
        let answer = rig.send(initialize()).await;
        assert_eq!(answer.status(), 200);
        let id = answer.header("mcp-session-id").expect("a session");
        let result = answer.message().await;
        assert_eq!(result["result"]["protocolVersion"], LEGACY);
        let session = Self { rig, id };
        let told = session.notify("notifications/initialized", json!({})).await;
        assert_eq!(told.status(), 202);
        session
    }

    pub fn request(&self, id: Option<u64>, method: &str, params: &Value) -> Request<Body> {
        let request = post(LEGACY).header("mcp-session-id", &self.id);
        request.body(message(id, method, params)).expect("a request")
    }

    pub async fn ask(&self, id: u64, method: &str, params: Value) -> Answer {
        self.rig.send(self.request(Some(id), method, &params)).await
    }

    pub async fn notify(&self, method: &str, params: Value) -> Answer {
        self.rig.send(self.request(None, method, &params)).await
    }

    pub async fn result(&self, id: u64, method: &str, params: Value) -> Value {
        let message = self.ask(id, method, params).await.message().await;
        assert!(message["error"].is_null(), "{message}");
        message["result"].clone()
    }

    pub async fn open_stream(&self) -> Answer {
        self.rig.send(self.get("GET")).await
    }

    pub fn get(&self, method: &str) -> Request<Body> {
        session_request(method, &self.id)
    }
}

/// A request without a body about a session.
pub fn session_request(method: &str, id: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("http://localhost/mcp")
        .extension(Access::anonymous())
        .header("host", "localhost")
        .header("accept", "text/event-stream")
        .header("mcp-protocol-version", LEGACY)
        .header("mcp-session-id", id)
        .body(Body::empty())
        .expect("a request")
}

pub fn initialize() -> Request<Body> {
    let params = json!({
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}
    });
    post(LEGACY)
        .body(message(Some(0), "initialize", &params))
        .expect("a request")
}

#[tokio::test]
async fn a_session_lists_calls_pings_and_ends() {
    let rig = Rig::new().await;
    let session = Session::begin(&rig).await;
    let list = session.result(1, "tools/list", json!({})).await;
    let known = mcp::builtin_names().len();
    assert!(list["tools"].as_array().is_some_and(|tools| tools.len() == known));
    assert_eq!(
        (list.get("resultType"), list["tools"][0]["name"].as_str()),
        (None, Some("dev.echo"))
    );
    let echo = session
        .result(
            2,
            "tools/call",
            json!({"name": "dev.echo", "arguments": {"message": "a"}}),
        )
        .await;
    assert_eq!(echo["structuredContent"]["message"], "a");
    assert_eq!(session.result(3, "ping", json!({})).await, json!({}));
    let unknown = session.ask(4, "no/such", json!({})).await.message().await;
    assert_eq!(unknown["error"]["code"], -32601);
    let resource = session
        .ask(5, "resources/read", json!({"uri": "test://no"}))
        .await
        .message()
        .await;
    assert_eq!(resource["error"]["code"], -32002);

    assert_eq!(rig.send(session.get("DELETE")).await.status(), 202);
    let gone = session.ask(6, "tools/list", json!({})).await;
    assert_eq!(gone.status(), 404);
    assert_eq!(gone.message().await["error"]["code"], -32001);
}

#[tokio::test]
async fn a_change_reaches_every_open_stream_once() {
    let rig = Rig::new().await;
    let one = Session::begin(&rig).await;
    let other = Session::begin(&rig).await;
    let mut streams = [one.open_stream().await, other.open_stream().await];
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    for stream in &mut streams {
        let told = stream.next().await.expect("a change");
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert!(stream.is_silent_for(Duration::from_millis(150)).await);
    }
}

#[tokio::test]
async fn a_change_waits_for_a_stream_that_is_opened_later() {
    let rig = Rig::new().await;
    let session = Session::begin(&rig).await;
    for name in ["first", "second", "third"] {
        rig.create(json!({"name": name, "description": "d", "code": "echo"}))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut stream = session.open_stream().await;
    assert_eq!(
        stream.next().await.expect("a change")["method"],
        "notifications/tools/list_changed"
    );
    assert!(
        stream.is_silent_for(Duration::from_millis(150)).await,
        "many changes are told as one"
    );
}

#[tokio::test]
async fn a_stream_opened_anew_takes_over() {
    let rig = Rig::new().await;
    let session = Session::begin(&rig).await;
    let mut old = session.open_stream().await;
    let mut new = session.open_stream().await;
    assert_eq!(old.next().await, None, "the old one ends");
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    assert_eq!(
        new.next().await.expect("a change")["method"],
        "notifications/tools/list_changed"
    );
}

#[tokio::test]
async fn a_cancelled_notification_cancels_and_a_disconnect_does_not() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "hangs", "description": "d", "code": "hang"}))
        .await;
    let session = Session::begin(&rig).await;
    let stream = session.ask(7, "tools/call", json!({"name": "hangs"})).await;
    rig.until_active(1).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        rig.active_executions().await,
        1,
        "a disconnect is not a cancellation"
    );
    let told = session
        .notify(
            "notifications/cancelled",
            json!({"requestId": 7, "reason": "enough"}),
        )
        .await;
    assert_eq!(told.status(), 202);
    rig.until_active(0).await;
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_its_call() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "steps", "description": "d", "code": "progress"}))
        .await;
    let session = Session::begin(&rig).await;
    let params = json!({"name": "steps", "_meta": {"progressToken": 5}});
    let mut stream = session.ask(1, "tools/call", params).await;
    for step in 1..=3 {
        let said = stream.next().await.expect("progress");
        assert_eq!(
            (
                &said["params"]["progressToken"],
                said["params"]["progress"].as_f64()
            ),
            (&json!(5), Some(f64::from(step)))
        );
    }
    assert_eq!(
        stream.next().await.expect("a result")["result"]["structuredContent"]["result"],
        "done"
    );
}

#[tokio::test]
async fn what_a_tool_prints_is_logged_to_a_client_that_set_a_level() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "prints", "description": "d", "code": "print"}))
        .await;
    let session = Session::begin(&rig).await;
    let mut stream = session.open_stream().await;
    session.result(1, "tools/call", json!({"name": "prints"})).await;
    assert!(
        stream.is_silent_for(Duration::from_millis(100)).await,
        "nobody asked for it"
    );
    session
        .result(2, "logging/setLevel", json!({"level": "warning"}))
        .await;
    session.result(3, "tools/call", json!({"name": "prints"})).await;
    let said = stream.next().await.expect("a message");
    assert_eq!(said["method"], "notifications/message");
    assert_eq!(
        (&said["params"]["level"], &said["params"]["data"]),
        (&json!("warning"), &json!("to stderr"))
    );
}
