//! Joining, over a control plane that does what a test tells it to.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::fleet_server::{Fleet, FleetServer};
use dynamic_mcp_proto::v1::join_request::Message as Incoming;
use dynamic_mcp_proto::v1::join_response::Message as Outgoing;
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{Credentials, FleetClient};
use crate::engine::fake::FakeEngine;
use crate::identity::Identity;
use crate::node::Node;

/// Hands every joined stream to the test.
struct Joins {
    joined: mpsc::Sender<Joined>,
    interval_ms: u32,
}

struct Joined {
    said: Streaming<v1::JoinRequest>,
    answer: mpsc::Sender<Result<v1::JoinResponse, Status>>,
}

#[tonic::async_trait]
impl Fleet for Joins {
    type JoinStream = ReceiverStream<Result<v1::JoinResponse, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (answer, answers) = mpsc::channel(4);
        let registered = v1::Registered {
            heartbeat_interval_ms: self.interval_ms,
        };
        answer
            .send(Ok(response(Outgoing::Registered(registered))))
            .await
            .unwrap();
        let said = request.into_inner();
        self.joined.send(Joined { said, answer }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Joined {
    async fn register(&mut self) -> v1::Register {
        match self.next().await {
            Some(Incoming::Register(register)) => register,
            other => panic!("not a registration: {other:?}"),
        }
    }

    async fn heartbeat(&mut self) -> v1::NodeStatus {
        match self.next().await {
            Some(Incoming::Heartbeat(heartbeat)) => heartbeat.status.unwrap(),
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    async fn next(&mut self) -> Option<Incoming> {
        let next = tokio::time::timeout(Duration::from_secs(5), self.said.message());
        next.await.unwrap().unwrap().and_then(|request| request.message)
    }
}

struct Harness {
    joins: mpsc::Receiver<Joined>,
    engine: FakeEngine,
    node: Arc<Node>,
    lifecycle: Lifecycle,
    stop: CancellationToken,
    _servers: JoinSet<()>,
    _state: tempfile::TempDir,
}

impl Harness {
    async fn new(interval: Duration) -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::claim(state.path()).unwrap());
        let engine = FakeEngine::willing();
        let node = Arc::new(Node::new(
            identity,
            Arc::new(engine.clone()),
            3,
            SandboxPolicy::default(),
        ));
        let token = JoinToken::random();
        let (joined, joins) = mpsc::channel(4);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let interval_ms = u32::try_from(interval.as_millis()).unwrap();
        let service = FleetServer::with_interceptor(Joins { joined, interval_ms }, token.require());
        let mut servers = JoinSet::new();
        servers.spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            served.await.unwrap();
        });
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let stop = CancellationToken::new();
        let client = FleetClient::new(
            Arc::clone(&node),
            "http://node:1".to_owned(),
            Credentials {
                join_token: token,
                trust: None,
            },
            lifecycle.clone(),
            stop.clone(),
        );
        client.stay_joined(url);
        Self {
            joins,
            engine,
            node,
            lifecycle,
            stop,
            _servers: servers,
            _state: state,
        }
    }

    async fn joined(&mut self) -> Joined {
        let joined = tokio::time::timeout(Duration::from_secs(10), self.joins.recv());
        joined.await.unwrap().unwrap()
    }
}

fn response(message: Outgoing) -> v1::JoinResponse {
    v1::JoinResponse {
        message: Some(message),
    }
}

const RARELY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_registers_first_and_then_says_how_it_is_at_the_interval_it_was_given() {
    let mut harness = Harness::new(Duration::from_millis(100)).await;
    let mut joined = harness.joined().await;
    let register = joined.register().await;
    assert_eq!(register.executor_id, harness.node.identity().id.as_str());
    assert_eq!((register.epoch, register.address.as_str()), (1, "http://node:1"));
    assert_eq!(register.status.unwrap().slots, 3);
    for _ in 0..3 {
        assert_eq!(joined.heartbeat().await.runtimes[0].unavailable, "");
    }
}

#[tokio::test]
async fn a_lost_engine_and_a_drain_are_told_at_once() {
    let mut harness = Harness::new(RARELY).await;
    let mut joined = harness.joined().await;
    joined.register().await;
    *harness.engine.unavailable.lock() = Some("no answer".to_owned());
    let status = joined.heartbeat().await;
    assert_eq!(status.runtimes[0].unavailable, "no answer");
    harness.node.capacity().drain();
    assert!(joined.heartbeat().await.draining);
}

#[tokio::test]
async fn a_broken_stream_is_joined_again_with_a_new_registration() {
    let mut harness = Harness::new(RARELY).await;
    let mut first = harness.joined().await;
    first.register().await;
    drop(first);
    harness.joined().await.register().await;
}

#[tokio::test]
async fn a_drain_message_begins_the_executors_shutdown() {
    let mut harness = Harness::new(RARELY).await;
    let mut joined = harness.joined().await;
    joined.register().await;
    let drain = v1::Drain {
        reason: "maintenance".to_owned(),
    };
    joined
        .answer
        .send(Ok(response(Outgoing::Drain(drain))))
        .await
        .unwrap();
    harness.lifecycle.soft().cancelled().await;
}

#[tokio::test]
async fn it_leaves_with_a_last_word_and_by_ending_the_stream_when_it_stops() {
    let mut harness = Harness::new(RARELY).await;
    let mut joined = harness.joined().await;
    joined.register().await;
    harness.node.capacity().drain();
    // Which also says that it knows by now that it has joined.
    assert!(joined.heartbeat().await.draining);
    harness.stop.cancel();
    assert!(joined.heartbeat().await.draining);
    assert!(joined.next().await.is_none());
    harness.lifecycle.begin_shutdown();
    assert!(harness.lifecycle.finish().await);
}
