//! MCP over a pair of pipes.

use std::time::Duration;

use dynamic_mcp_control_plane::mcp;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio_util::task::AbortOnDropHandle;

use crate::rig::{LEGACY, MODERN, Rig, SOON};

struct Client {
    input: Option<WriteHalf<DuplexStream>>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    server: AbortOnDropHandle<bool>,
}

impl Client {
    fn start(rig: &Rig) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (stdin, stdout) = tokio::io::split(theirs);
        let (deps, lifecycle) = (rig.deps.clone(), rig.lifecycle.clone());
        #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            mcp::stdio::serve(deps, &lifecycle, stdin, stdout).await.is_ok()
        }));
        let (output, input) = tokio::io::split(ours);
        Self {
            input: Some(input),
            output: BufReader::new(output).lines(),
            server,
        }
    }

    async fn say(&mut self, message: Value) {
        let input = self.input.as_mut().expect("open");
        input
            .write_all(format!("{message}\n").as_bytes())
            .await
            .expect("written");
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(SOON, self.output.next_line())
            .await
            .expect("a line in time");
        serde_json::from_str(&line.expect("readable").expect("a line")).expect("JSON")
    }

    async fn close(&mut self) {
        let mut input = self.input.take().expect("open");
        input.shutdown().await.expect("closed");
    }

    async fn ends(self) -> bool {
        tokio::time::timeout(SOON, self.server)
            .await
            .expect("it ends in time")
            .expect("no panic")
    }

    async fn initialize(&mut self) {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        self.say(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}))
            .await;
        assert_eq!(self.hear().await["result"]["protocolVersion"], LEGACY);
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }
}

fn call(id: u64, name: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
}

#[tokio::test]
async fn a_legacy_client_calls_is_told_of_changes_and_leaves() {
    let rig = Rig::new().await;
    let mut client = Client::start(&rig);
    client.initialize().await;
    client.say(call(1, "dev.echo", &json!({"message": "a"}))).await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["message"], "a");
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.close().await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_client_of_the_newest_era_needs_no_handshake() {
    let rig = Rig::new().await;
    let mut client = Client::start(&rig);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    let mut request = call(1, "dev.echo", &json!({"message": "a"}));
    request["params"]["_meta"] = meta.clone();
    client.say(request).await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["message"], "a");
    let params = json!({"_meta": meta, "notifications": {"toolsListChanged": true}});
    client
        .say(json!({"jsonrpc": "2.0", "id": 2, "method": "subscriptions/listen", "params": params}))
        .await;
    assert_eq!(
        client.hear().await["method"],
        "notifications/subscriptions/acknowledged"
    );
    rig.create(json!({"name": "first", "description": "d", "code": "echo"}))
        .await;
    assert_eq!(client.hear().await["method"], "notifications/tools/list_changed");
    client.close().await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_closed_stdin_cancels_what_runs_within_a_second() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "hangs", "description": "d", "code": "hang"}))
        .await;
    let mut client = Client::start(&rig);
    client.initialize().await;
    client.say(call(1, "hangs", &json!({}))).await;
    rig.until_active(1).await;
    client.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(1), rig.until_active(0)).await;
    assert!(ended.is_ok());
    assert!(client.ends().await);
}

#[tokio::test]
async fn what_was_asked_before_stdin_closed_is_answered() {
    let rig = Rig::new().await;
    let mut client = Client::start(&rig);
    client.initialize().await;
    client
        .say(call(1, "run_js_ephemeral", &json!({"code": "echo"})))
        .await;
    client.close().await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["ok"], true);
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_shutdown_lets_what_runs_end_until_the_hard_token() {
    let rig = Rig::new().await;
    rig.create(json!({"name": "hangs", "description": "d", "code": "hang"}))
        .await;
    let mut client = Client::start(&rig);
    client.initialize().await;
    client.say(call(1, "hangs", &json!({}))).await;
    rig.until_active(1).await;
    rig.lifecycle.begin_shutdown();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.active_executions().await, 1);
    rig.lifecycle.hard().cancel();
    assert_eq!(
        client.hear().await["result"]["structuredContent"]["outcome"],
        "interrupted"
    );
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_process_without_a_client_yet_ends_with_the_lifecycle() {
    let rig = Rig::new().await;
    let client = Client::start(&rig);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.lifecycle.begin_shutdown();
    assert!(client.ends().await);
}
