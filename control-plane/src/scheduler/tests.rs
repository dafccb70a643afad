//! The scheduler against executors that do what each test says, over real gRPC in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Request;
use dynamic_mcp_proto::v1::executor_server::{Executor, ExecutorServer};
use dynamic_mcp_shared::ids::JobId;
use dynamic_mcp_shared::job::{ImageStatus, Isolation, NodeStatus, Runtime, RuntimeStatus};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::limits::TimeoutMs;
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::wire::execute_event;
use futures::Stream;
use hyper_util::rt::TokioIo;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Server};
use tonic::{Response, Status, Streaming};

use super::fleet::{Membership, NodeInfo, StatusSource};
use super::*;

const IMAGE: &str = "node:lts-slim";
/// Of each executor.
const SLOTS: u32 = 4;

/// What an executor does with every job.
#[derive(Clone, Copy)]
enum Script {
    Finishes,
    Rejects(v1::RejectReason),
    BreaksBeforeReady,
    /// Its answer to the preparation is lost, and it starts the job if it is ever told to.
    SaysNothing,
    BreaksAfterStart,
    /// Gave the sandbox back before the start came.
    RejectsTheStart,
    /// Says how it ended only once it is told to cancel.
    WaitsForCancel,
}

#[derive(Clone)]
struct Scripted {
    script: Script,
    prepared: Arc<AtomicU32>,
    started: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl Executor for Scripted {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<v1::ExecuteEvent, Status>> + Send>>;

    async fn execute(
        &self,
        request: tonic::Request<Streaming<v1::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let (events, stream) = mpsc::channel(4);
        let script = self.clone();
        #[expect(clippy::disallowed_methods, reason = "ends with its stream")]
        tokio::spawn(async move {
            if let Err(status) = script.play(request.into_inner(), &events).await {
                let _gone = events.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn drain(
        &self,
        _: tonic::Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        Ok(Response::new(v1::DrainResponse::default()))
    }

    async fn resolve_dependencies(
        &self,
        _: tonic::Request<v1::ResolveDependenciesRequest>,
    ) -> Result<Response<v1::ResolveDependenciesResponse>, Status> {
        let refused = v1::resolve_dependencies_response::Result::Refused("no such package".to_owned());
        Ok(Response::new(v1::ResolveDependenciesResponse {
            result: Some(refused),
        }))
    }
}

impl Scripted {
    async fn play(
        &self,
        mut requests: Streaming<v1::ExecuteRequest>,
        events: &mpsc::Sender<Result<v1::ExecuteEvent, Status>>,
    ) -> Result<(), Status> {
        let say = async |event| {
            events
                .send(Ok(execute_event(event)))
                .await
                .map_err(|_| Status::cancelled("gone"))
        };
        requests.message().await?;
        self.prepared.fetch_add(1, Ordering::SeqCst);
        match self.script {
            Script::BreaksBeforeReady => return Err(Status::unavailable("killed")),
            Script::Rejects(reason) => {
                let rejected = v1::Rejected {
                    reason: reason.into(),
                    message: "not here".to_owned(),
                };
                return say(Event::Rejected(rejected)).await;
            }
            _ => {}
        }
        if matches!(self.script, Script::SaysNothing) {
            if let Ok(Some(_start)) = requests.message().await {
                self.started.fetch_add(1, Ordering::SeqCst);
            }
            return Ok(());
        }
        say(Event::Ready(v1::Ready {
            placement: v1::Placement::Warm.into(),
        }))
        .await?;
        let start = requests.message().await?.and_then(|request| request.message);
        if !matches!(start, Some(Request::Start(_))) {
            return Ok(());
        }
        if matches!(self.script, Script::RejectsTheStart) {
            let reason = v1::RejectReason::NoCapacity.into();
            return say(Event::Rejected(v1::Rejected {
                reason,
                message: "too late".to_owned(),
            }))
            .await;
        }
        self.started.fetch_add(1, Ordering::SeqCst);
        let outcome = match self.script {
            Script::BreaksAfterStart => return Err(Status::unavailable("killed")),
            Script::WaitsForCancel => {
                requests.message().await?;
                v1::Outcome::Cancelled
            }
            _ => v1::Outcome::Ok,
        };
        let result_json = (outcome == v1::Outcome::Ok).then(|| "1".into());
        say(Event::Finished(v1::Finished {
            outcome: outcome.into(),
            result_json,
            ..Default::default()
        }))
        .await
    }
}

/// A fleet of scripted executors, and what each of them saw.
struct Cluster {
    scheduler: Scheduler,
    executors: Vec<Scripted>,
    _parts: Vec<(Membership, AbortOnDropHandle<()>)>,
}

impl Cluster {
    fn of(scripts: &[Script]) -> Self {
        let fleet = Arc::new(Fleet::default());
        let mut executors = Vec::new();
        let mut parts = Vec::new();
        for &script in scripts {
            let executor = Scripted {
                script,
                prepared: Arc::default(),
                started: Arc::default(),
            };
            parts.push(join(&fleet, executor.clone()));
            executors.push(executor);
        }
        let config = SchedulerConfig {
            max_wait: Duration::from_millis(200),
            prepare_deadline: Duration::from_secs(1),
            ..SchedulerConfig::default()
        };
        Self {
            scheduler: Scheduler::new(fleet, config),
            executors,
            _parts: parts,
        }
    }

    async fn run(&self) -> Scheduled {
        self.scheduler
            .run(job(), "{}".into(), None, &CancellationToken::new())
            .await
    }

    /// Every slot of one executor.
    fn fill(&self, need: Need<'_>) -> Vec<Reservation> {
        let slot = |_| self.scheduler.fleet.reserve(need, &[]).unwrap();
        (0..SLOTS).map(slot).collect()
    }

    fn started(&self) -> u32 {
        self.executors
            .iter()
            .map(|executor| executor.started.load(Ordering::SeqCst))
            .sum()
    }

    fn prepared(&self) -> u32 {
        self.executors
            .iter()
            .map(|executor| executor.prepared.load(Ordering::SeqCst))
            .sum()
    }
}

fn join(fleet: &Arc<Fleet>, executor: Scripted) -> (Membership, AbortOnDropHandle<()>) {
    let (dialled, accepted) = mpsc::channel::<tokio::io::DuplexStream>(4);
    let incoming = tokio_stream::StreamExt::map(ReceiverStream::new(accepted), Ok::<_, std::io::Error>);
    let serve = Server::builder()
        .add_service(ExecutorServer::new(executor))
        .serve_with_incoming(incoming);
    #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
    let server = AbortOnDropHandle::new(tokio::spawn(async move {
        serve.await.unwrap();
    }));
    let connector = tower::service_fn(move |_: http::Uri| {
        let dialled = dialled.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            dialled.send(theirs).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://executor").connect_with_connector_lazy(connector);
    let channel = InterceptedService::new(channel, JoinToken::random().attach());
    let info = NodeInfo {
        id: ExecutorId::generate(),
        epoch: 1,
        version: String::new(),
        address: String::new(),
    };
    let images = vec![ImageStatus {
        name: IMAGE.into(),
        present: true,
        warm: 1,
    }];
    let status = NodeStatus {
        slots: SLOTS,
        runtimes: vec![RuntimeStatus {
            runtime: Runtime::Node,
            unavailable: None,
            sandbox: "runc".to_owned(),
        }],
        images,
        ..Default::default()
    };
    (
        fleet.join(info, channel, StatusSource::Reported(status)).unwrap(),
        server,
    )
}

fn job() -> Job {
    Job {
        id: JobId::generate(),
        tenant: TenantId::default(),
        tool: None,
        runtime: Runtime::Node,
        image: IMAGE.into(),
        isolation: Isolation::Call,
        content_hash: None,
        revision: 0,
        code: "return 1".into(),
        dependency_lock: None,
        timeout: TimeoutMs::MIN,
        max_output_bytes: 1_000,
        max_memory: None,
        session: None,
    }
}

#[tokio::test]
async fn a_node_that_breaks_before_the_start_costs_nothing() {
    let cluster = Cluster::of(&[Script::BreaksBeforeReady, Script::Finishes]);
    for _ in 0..8 {
        assert!(
            matches!(cluster.run().await, Scheduled::Finished { finished, .. } if finished.outcome.is_ok())
        );
    }
    assert_eq!(cluster.started(), 8, "each job ran exactly once");
    assert!(
        cluster.prepared() > 8,
        "some of them were tried on the broken node first"
    );
}

#[tokio::test]
async fn a_job_whose_preparation_was_lost_on_one_node_is_started_on_another_alone() {
    let cluster = Cluster::of(&[Script::SaysNothing, Script::Finishes]);
    let mut jobs = 0;
    while cluster.executors[0].prepared.load(Ordering::SeqCst) == 0 {
        let scheduled = cluster.run().await;
        assert!(matches!(scheduled, Scheduled::Finished { finished, .. } if finished.outcome.is_ok()));
        jobs += 1;
    }
    assert_eq!(cluster.executors[0].started.load(Ordering::SeqCst), 0);
    assert_eq!(cluster.started(), jobs);
}

#[tokio::test]
async fn a_break_after_the_start_is_never_tried_again() {
    let cluster = Cluster::of(&[Script::BreaksAfterStart, Script::BreaksAfterStart]);
    assert!(matches!(cluster.run().await, Scheduled::Interrupted { .. }));
    assert_eq!(cluster.started(), 1);
}

#[tokio::test]
async fn a_start_that_came_too_late_is_tried_elsewhere() {
    let cluster = Cluster::of(&[Script::RejectsTheStart, Script::Finishes]);
    for _ in 0..8 {
        assert!(
            matches!(cluster.run().await, Scheduled::Finished { finished, .. } if finished.outcome.is_ok())
        );
    }
    assert_eq!(cluster.started(), 8);
}

#[tokio::test]
async fn a_job_that_every_node_refuses_is_tried_a_bounded_number_of_times() {
    let cluster = Cluster::of(&[Script::Rejects(v1::RejectReason::Engine); 5]);
    let scheduled = cluster.run().await;
    assert!(
        matches!(
            scheduled,
            Scheduled::NeverStarted {
                kind: NeverStarted::Refused,
                ..
            }
        ),
        "{scheduled:?}"
    );
    assert_eq!(
        (cluster.prepared(), cluster.started()),
        (retry::MAX_ATTEMPTS as u32, 0)
    );
}

#[tokio::test]
async fn nodes_that_say_that_they_are_full_are_asked_again_until_the_wait_is_over() {
    for count in [1, 2, 5] {
        let cluster = Cluster::of(&vec![Script::Rejects(v1::RejectReason::NoCapacity); count]);
        let began = std::time::Instant::now();
        let scheduled = cluster.run().await;
        let Scheduled::NeverStarted { kind, message } = scheduled else {
            panic!("{scheduled:?}")
        };
        assert_eq!((kind, &*message), (NeverStarted::NoCapacity, "not here"));
        assert!(
            began.elapsed() >= Duration::from_millis(200),
            "it gave up at once"
        );
        let asked = cluster.prepared() as usize;
        assert!(
            asked > count.min(retry::MAX_ATTEMPTS),
            "{count} were asked {asked} times"
        );
        assert_eq!(cluster.started(), 0);
    }
}

#[tokio::test]
async fn dependencies_at_fault_are_not_tried_elsewhere() {
    let cluster = Cluster::of(&[Script::Rejects(v1::RejectReason::Dependencies); 3]);
    assert!(matches!(cluster.run().await, Scheduled::NeverStarted { message, .. } if message == "not here"));
    assert_eq!(cluster.prepared(), 1);
}

#[tokio::test]
async fn a_cancel_reaches_the_running_job() {
    let cluster = Cluster::of(&[Script::WaitsForCancel]);
    let cancel = CancellationToken::new();
    let run = cluster.scheduler.run(job(), "{}".into(), None, &cancel);
    let give_up = async {
        while cluster.started() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (scheduled, ()) = tokio::join!(run, give_up);
    assert!(
        matches!(&scheduled, Scheduled::Finished { finished, .. } if finished.outcome == Outcome::Cancelled),
        "{scheduled:?}"
    );
}

#[tokio::test]
async fn a_job_for_an_image_that_nobody_has_fails_at_once_and_says_so() {
    let cluster = Cluster::of(&[Script::Finishes]);
    let scheduled = cluster
        .scheduler
        .run(
            Job {
                image: "other".into(),
                ..job()
            },
            "{}".into(),
            None,
            &CancellationToken::new(),
        )
        .await;
    let Scheduled::NeverStarted { kind, message } = scheduled else {
        panic!("{scheduled:?}")
    };
    assert_eq!((kind, cluster.prepared()), (NeverStarted::Unsatisfiable, 0));
    assert!(message.contains("\"other\""), "{message}");
}

#[tokio::test]
async fn a_job_for_a_runtime_that_nobody_offers_fails_at_once_and_says_how_to_get_it() {
    let cluster = Cluster::of(&[Script::Finishes]);
    let isolate = Job {
        runtime: Runtime::Isolate,
        ..job()
    };
    let scheduled = cluster
        .scheduler
        .run(isolate, "{}".into(), None, &CancellationToken::new())
        .await;
    let Scheduled::NeverStarted { kind, message } = scheduled else {
        panic!("{scheduled:?}")
    };
    assert_eq!((kind, cluster.prepared()), (NeverStarted::Unsatisfiable, 0));
    assert!(
        message.starts_with("no executor offers runtime \"isolate\" (offered: node); it needs"),
        "{message}"
    );
}

#[tokio::test]
async fn without_any_executor_a_job_waits_a_bounded_time() {
    let scheduled = Cluster::of(&[]).run().await;
    assert!(matches!(
        scheduled,
        Scheduled::NeverStarted {
            kind: NeverStarted::NoCapacity,
            ..
        }
    ));
}

#[tokio::test]
async fn a_tenant_with_one_job_does_not_wait_for_all_of_one_with_many() {
    let cluster = Cluster::of(&[Script::Finishes]);
    let need = Need::Node { image: IMAGE };
    let mut held = cluster.fill(need);
    let _waits_at_the_node = cluster.scheduler.turns.at_node(need);
    let places = parking_lot::Mutex::new(Vec::new());
    let wait = async |tenant: &'static str| {
        let give_up_at = Instant::now() + Duration::from_secs(10);
        let tenant_id = tenant.parse().unwrap();
        let seeking = &mut Seeking::default();
        let placed = cluster
            .scheduler
            .place(need, &tenant_id, &[], seeking, give_up_at);
        let place = placed.await.ok().expect("a place");
        places.lock().push(tenant);
        // The next one's turn comes with it.
        drop(place);
    };
    let many = futures::future::join_all((0..20).map(|_| wait("many")));
    let free = async {
        tokio::task::yield_now().await;
        held.pop();
    };
    tokio::join!(many, wait("few"), free);
    let places = places.into_inner();
    assert_eq!(places.len(), 21);
    let before = places.iter().position(|&tenant| tenant == "few");
    assert!(before.is_some_and(|before| before <= 1), "{places:?}");
}

#[tokio::test]
async fn a_call_that_waited_at_a_node_in_vain_keeps_the_right_until_it_gives_up() {
    let cluster = Cluster::of(&[Script::Rejects(v1::RejectReason::NoCapacity)]);
    let need = Need::Node { image: IMAGE };
    let held = cluster.fill(need);
    let mut refused = Box::pin(cluster.run());
    let refused = loop {
        let tick = tokio::time::sleep(Duration::from_millis(1));
        tokio::select! {
            refused = &mut refused => break refused,
            () = tick => {}
        }
        let is_free = cluster.prepared() > 0 && cluster.scheduler.turns.at_node(need).is_some();
        assert!(!is_free, "another may wait in its stead");
    };
    assert!(matches!(
        refused,
        Scheduled::NeverStarted {
            kind: NeverStarted::NoCapacity,
            ..
        }
    ));
    assert!(cluster.scheduler.turns.at_node(need).is_some());
    drop(held);
}
