//! The service on the wire, over an engine that does what it is told.

mod trust;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Say;
use dynamic_mcp_proto::v1::executor_client::ExecutorClient;
use dynamic_mcp_shared::job::{Job, JobEvent, Output, OutputStream, Progress};
use dynamic_mcp_shared::join_token::{AttachToken, JoinToken};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::wire::{execute_request, start};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::Deadlines;
use crate::engine::fake::{FakeEngine, job};
use crate::identity::Identity;
use crate::node::Node;

type Client = ExecutorClient<InterceptedService<Channel, AttachToken>>;

struct Harness {
    engine: FakeEngine,
    node: Arc<Node>,
    lifecycle: Lifecycle,
    channel: Channel,
    token: JoinToken,
    _state: tempfile::TempDir,
}

const SHORT: Deadlines = Deadlines {
    prepare_message: Duration::from_millis(200),
    start_message: Duration::from_millis(200),
    prepare: Duration::from_millis(2_000),
    overrun: Duration::ZERO,
    resolve: Duration::from_millis(500),
    last_event: Duration::from_millis(500),
};

impl Harness {
    async fn new(engine: FakeEngine) -> Self {
        Self::with(engine, SHORT).await
    }

    async fn with(engine: FakeEngine, deadlines: Deadlines) -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::claim(state.path()).unwrap());
        let node = Arc::new(Node::new(
            identity,
            Arc::new(engine.clone()),
            2,
            SandboxPolicy::default(),
        ));
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let token = JoinToken::random();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        node.serve(TcpListenerStream::new(listener), &token, deadlines, &lifecycle);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Self {
            engine,
            node,
            lifecycle,
            channel,
            token,
            _state: state,
        }
    }

    fn client(&self) -> Client {
        ExecutorClient::with_interceptor(self.channel.clone(), self.token.attach())
    }

    async fn call(&self) -> Call {
        let (say, requests) = mpsc::channel(8);
        let events = self
            .client()
            .execute(ReceiverStream::new(requests))
            .await
            .unwrap()
            .into_inner();
        Call { say, events }
    }

    /// A call whose sandbox is ready.
    async fn ready(&self, job: Job) -> Call {
        let mut call = self.call().await;
        call.say(prepare(job)).await;
        assert!(matches!(call.next().await, Event::Ready(_)));
        call
    }
}

struct Call {
    say: mpsc::Sender<v1::ExecuteRequest>,
    events: Streaming<v1::ExecuteEvent>,
}

impl Call {
    async fn say(&self, request: v1::ExecuteRequest) {
        self.say.send(request).await.unwrap();
    }

    async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(5), self.events.message());
        event.await.unwrap().unwrap().unwrap().message.unwrap()
    }

    async fn outcome(&mut self) -> v1::Outcome {
        match self.next().await {
            Event::Finished(finished) => finished.outcome(),
            other => panic!("not the end: {other:?}"),
        }
    }

    async fn reject_reason(&mut self) -> v1::RejectReason {
        match self.next().await {
            Event::Rejected(rejected) => rejected.reason(),
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn assert_ended(mut self) {
        assert!(self.events.message().await.unwrap().is_none());
    }
}

fn prepare(job: Job) -> v1::ExecuteRequest {
    execute_request(Say::Prepare(job.into()))
}

fn cancel() -> v1::ExecuteRequest {
    execute_request(Say::Cancel(v1::Cancel {}))
}

async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_job_runs_once_it_is_started_and_its_slot_comes_back() {
    let harness = Harness::new(FakeEngine::willing()).await;
    harness.engine.events.lock().extend([
        JobEvent::Progress(Progress {
            progress: 0.5,
            total: None,
            message: None,
        }),
        JobEvent::Output(Output {
            stream: OutputStream::Stderr,
            data: "why".into(),
            command: 1,
        }),
    ]);
    let mut call = harness.ready(job()).await;
    assert_eq!(harness.engine.ran.load(Ordering::SeqCst), 0);
    assert_eq!(harness.node.status().running, 1);
    call.say(start("[1]".into())).await;
    assert!(matches!(call.next().await, Event::Progress(_)));
    let Event::Output(printed) = call.next().await else {
        panic!("not what was printed")
    };
    assert_eq!((printed.command, &*printed.data), (1, &b"why"[..]));
    assert_eq!(printed.stream(), v1::OutputStream::Stderr);
    let Event::Finished(finished) = call.next().await else {
        panic!("not the end")
    };
    assert_eq!(finished.result_json.as_deref(), Some(&b"[1]"[..]));
    assert_eq!(harness.node.status().running, 0);
    call.assert_ended().await;
}

#[tokio::test]
async fn nothing_answers_a_caller_without_the_join_token() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let other = JoinToken::random();
    let mut client = ExecutorClient::with_interceptor(harness.channel.clone(), other.attach());
    let refused = client.execute(tokio_stream::iter([prepare(job())])).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let mut bare = ExecutorClient::new(harness.channel.clone());
    let status = bare
        .resolve_dependencies(v1::ResolveDependenciesRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_first_message_that_is_not_prepare_is_refused() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let mut call = harness.call().await;
    call.say(start("1".into())).await;
    assert_eq!(
        call.events.message().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_not_waited_for() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let mut call = harness.call().await;
    assert_eq!(
        call.events.message().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn what_the_policy_forbids_is_refused_as_unsupported() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let other_image = Job {
        image: "alpine".to_owned(),
        ..job()
    };
    let much_output = Job {
        max_output_bytes: u64::MAX,
        max_memory: None,
        session: None,
        ..job()
    };
    let mut malformed = v1::Prepare::from(job());
    malformed.job_id = "not an id".to_owned();
    for request in [
        prepare(other_image),
        prepare(much_output),
        execute_request(Say::Prepare(malformed)),
    ] {
        let mut call = harness.call().await;
        call.say(request).await;
        assert_eq!(call.reject_reason().await, v1::RejectReason::Unsupported);
        call.assert_ended().await;
    }
}

#[tokio::test]
async fn without_a_free_slot_a_job_is_refused_at_once() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let _one = harness.ready(job()).await;
    let _other = harness.ready(job()).await;
    let mut third = harness.call().await;
    third.say(prepare(job())).await;
    assert_eq!(third.reject_reason().await, v1::RejectReason::NoCapacity);
}

#[tokio::test]
async fn a_second_dispatch_of_one_job_never_runs() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let job = job();
    let mut first = harness.ready(job.clone()).await;
    let mut during = harness.call().await;
    during.say(prepare(job.clone())).await;
    assert_eq!(during.reject_reason().await, v1::RejectReason::Unsupported);
    first.say(start("1".into())).await;
    assert_eq!(first.outcome().await, v1::Outcome::Ok);
    let mut after = harness.call().await;
    after.say(prepare(job)).await;
    assert_eq!(after.reject_reason().await, v1::RejectReason::Unsupported);
    assert_eq!(harness.engine.ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_engines_refusal_reaches_the_caller() {
    let harness = Harness::new(FakeEngine::willing()).await;
    *harness.engine.rejection.lock() = Some(dynamic_mcp_shared::job::Rejection {
        reason: dynamic_mcp_shared::job::RejectReason::Engine,
        message: "no answer".to_owned(),
    });
    let mut call = harness.call().await;
    call.say(prepare(job())).await;
    assert_eq!(call.reject_reason().await, v1::RejectReason::Engine);
}

#[tokio::test]
async fn a_stuck_engine_is_not_waited_for() {
    let deadlines = Deadlines {
        prepare: Duration::from_millis(100),
        ..SHORT
    };
    let harness = Harness::with(FakeEngine::waiting(), deadlines).await;
    let mut call = harness.call().await;
    call.say(prepare(job())).await;
    assert_eq!(call.reject_reason().await, v1::RejectReason::Engine);
    eventually(|| harness.node.status().running == 0).await;
}

#[tokio::test]
async fn a_sandbox_that_is_not_started_in_time_is_given_back() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let mut call = harness.ready(job()).await;
    assert_eq!(call.reject_reason().await, v1::RejectReason::NoCapacity);
    eventually(|| harness.node.status().running == 0).await;
    assert_eq!(harness.engine.given_back.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_closed_before_the_start_gives_the_sandbox_back() {
    let unhurried = Deadlines {
        start_message: Duration::from_secs(60),
        ..SHORT
    };
    let harness = Harness::with(FakeEngine::willing(), unhurried).await;
    drop(harness.ready(job()).await);
    eventually(|| harness.engine.given_back.load(Ordering::SeqCst) == 1).await;
    let half_closed = harness.ready(job()).await;
    drop(half_closed.say);
    eventually(|| harness.engine.given_back.load(Ordering::SeqCst) == 2).await;
    eventually(|| harness.node.status().running == 0).await;
}

#[tokio::test]
async fn a_job_that_never_started_may_be_dispatched_again() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let job = job();
    drop(harness.ready(job.clone()).await);
    eventually(|| harness.node.status().running == 0).await;
    let mut again = harness.ready(job).await;
    again.say(start("1".into())).await;
    assert_eq!(again.outcome().await, v1::Outcome::Ok);
}

#[tokio::test]
async fn a_cancel_ends_a_running_job_and_one_that_waits_for_its_sandbox() {
    let harness = Harness::new(FakeEngine::waiting()).await;
    let mut waiting = harness.call().await;
    waiting.say(prepare(job())).await;
    waiting.say(cancel()).await;
    assert_eq!(waiting.outcome().await, v1::Outcome::Cancelled);
    waiting.assert_ended().await;

    harness.engine.prepare.add_permits(1);
    let mut running = harness.ready(job()).await;
    running.say(start("1".into())).await;
    running.say(cancel()).await;
    assert_eq!(running.outcome().await, v1::Outcome::Cancelled);
    running.assert_ended().await;
}

#[tokio::test]
async fn a_caller_that_breaks_off_cancels_its_job() {
    let harness = Harness::new(FakeEngine::waiting()).await;
    harness.engine.prepare.add_permits(1);
    let call = harness.ready(job()).await;
    call.say(start("1".into())).await;
    eventually(|| harness.engine.ran.load(Ordering::SeqCst) == 1).await;
    drop(call);
    eventually(|| harness.engine.cancelled.load(Ordering::SeqCst) == 1).await;
    eventually(|| harness.node.status().running == 0).await;
}

#[tokio::test]
async fn arguments_that_are_not_json_never_reach_the_engine() {
    let harness = Harness::new(FakeEngine::willing()).await;
    let mut call = harness.ready(job()).await;
    call.say(start("{".into())).await;
    assert_eq!(call.outcome().await, v1::Outcome::InvalidInput);
    assert_eq!(harness.engine.ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_job_that_the_engine_does_not_end_is_interrupted() {
    let harness = Harness::new(FakeEngine::waiting()).await;
    harness.engine.prepare.add_permits(1);
    let short = Job {
        timeout: TimeoutMs::MIN,
        ..job()
    };
    let mut call = harness.ready(short).await;
    call.say(start("1".into())).await;
    assert_eq!(call.outcome().await, v1::Outcome::Interrupted);
    assert_eq!(harness.node.status().running, 0);
}

#[tokio::test]
async fn a_draining_node_refuses_new_jobs_and_lets_running_ones_finish() {
    let harness = Harness::new(FakeEngine::waiting()).await;
    harness.engine.prepare.add_permits(1);
    let mut running = harness.ready(job()).await;
    running.say(start("1".into())).await;
    harness.lifecycle.begin_shutdown();
    eventually(|| harness.node.status().draining).await;
    let mut late = harness.call().await;
    late.say(prepare(job())).await;
    assert_eq!(late.reject_reason().await, v1::RejectReason::Draining);
    let resolving = harness
        .client()
        .resolve_dependencies(v1::ResolveDependenciesRequest {
            tenant: "default".to_owned(),
            ..Default::default()
        })
        .await;
    assert_eq!(resolving.unwrap_err().code(), Code::Unavailable);
    harness.engine.finish.add_permits(1);
    assert_eq!(running.outcome().await, v1::Outcome::Ok);
    assert!(harness.lifecycle.finish().await);
}

#[tokio::test]
async fn a_job_that_outlasts_the_grace_time_is_interrupted_and_not_called_cancelled() {
    let harness = Harness::new(FakeEngine::waiting()).await;
    harness.engine.prepare.add_permits(1);
    let mut running = harness.ready(job()).await;
    running.say(start("1".into())).await;
    eventually(|| harness.engine.ran.load(Ordering::SeqCst) == 1).await;
    harness.lifecycle.hard().cancel();
    assert_eq!(running.outcome().await, v1::Outcome::Interrupted);
}

#[tokio::test]
async fn resolving_tells_the_authors_faults_from_the_platforms() {
    use v1::resolve_dependencies_response::Result as Answer;

    let harness = Harness::new(FakeEngine::willing()).await;
    let resolve = async |image: &str, name: &str| {
        let request = v1::ResolveDependenciesRequest {
            tenant: "default".to_owned(),
            image: image.to_owned(),
            dependencies: vec![v1::Dependency {
                name: name.to_owned(),
                version: "1".to_owned(),
            }],
        };
        let answer = harness.client().resolve_dependencies(request).await?;
        Ok::<_, tonic::Status>(answer.into_inner().result.unwrap())
    };
    let lts = "node:lts-slim";
    assert!(matches!(resolve(lts, "fine").await, Ok(Answer::Lock(_))));
    for (image, name, word) in [
        (lts, "unknown", "unknown"),
        (lts, "npm", "blocked"),
        ("alpine", "fine", "not allowed"),
    ] {
        let Ok(Answer::Refused(why)) = resolve(image, name).await else {
            panic!("{name} on {image} was not refused")
        };
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(
        resolve(lts, "broken").await.unwrap_err().code(),
        Code::Unavailable
    );
}
