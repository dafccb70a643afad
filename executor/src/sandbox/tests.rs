//! The life of sessions on tokio's own clock, with an agent that says what a test has it say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::{CommandId, JobId, SandboxId, TenantId};
use dynamic_mcp_shared::job::{
    Dependency, Finished, InBackground, Job, RejectReason, Rejection, SandboxSession, SessionTask,
    SessionWork,
};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, TimeoutMs};
use dynamic_mcp_shared::outcome::Outcome;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::table::{OpenSession, Owned, SandboxLimits, Sandboxes};
use super::{CommandState, FileProblemKind, Lost, OpenedSandbox, SandboxSpec, Streams};
use crate::capacity::Capacity;
use crate::engine::fake::job;
use crate::engine::{Engine, EngineStatus, PreparedJob, ResolveError};
use crate::leaving::Leaving;

/// An engine whose sandboxes are a pair of pipes.
#[derive(Clone, Default)]
struct Pipes(Arc<Script>);

#[derive(Default)]
struct Script {
    there: Arc<AtomicUsize>,
    /// An agent says nothing, not even that it is there.
    silent: AtomicBool,
    /// An agent does not end what it is told to end.
    stubborn: AtomicBool,
    /// What an agent says of a listing.
    listed: Mutex<String>,
    /// What it says instead, over and over.
    endless: Mutex<Option<Bytes>>,
    /// Agents that are told of end at once.
    kill_all: CancellationToken,
}

struct There(Arc<AtomicUsize>);

impl Drop for There {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Engine for Pipes {
    async fn prepare(&self, _job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        unreachable!("jobs of sessions are not prepared by the engine")
    }

    async fn resolve_dependencies(
        &self,
        _tenant: &TenantId,
        _image: &str,
        _dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        unreachable!("nothing is resolved here")
    }

    fn holds_sandboxes(&self) -> bool {
        true
    }

    async fn open_sandbox(&self, _spec: &SandboxSpec) -> Result<OpenedSandbox, Rejection> {
        self.0.there.fetch_add(1, Ordering::SeqCst);
        let lease = Box::new(There(Arc::clone(&self.0.there)));
        let (input, orders) = tokio::io::duplex(1 << 16);
        let (words, output) = mpsc::channel(8);
        let script = Arc::clone(&self.0);
        #[expect(clippy::disallowed_methods, reason = "ends with its pipes")]
        tokio::spawn(async move {
            let kill_all = script.kill_all.clone();
            tokio::select! {
                _ended = act(&script, orders, words) => {}
                () = kill_all.cancelled() => {}
            }
        });
        let output = stream::unfold(output, |mut output| async {
            output.recv().await.map(|bytes| (bytes, output))
        });
        Ok(OpenedSandbox {
            streams: Streams {
                output: output.boxed(),
                input: Box::pin(input),
            },
            lease,
            memory: ByteSize(64 << 20),
            pids: 32,
        })
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            runtimes: Vec::new(),
            images: Vec::new(),
        }
    }

    async fn shutdown(&self) {}
}

/// An agent: commands print "begun" and go on for ever, until they are killed.
async fn act(script: &Script, mut orders: DuplexStream, words: mpsc::Sender<Bytes>) -> Option<()> {
    if !script.silent.load(Ordering::SeqCst) {
        words.send(word(b'h', 0, b"")).await.ok()?;
    }
    loop {
        let length = orders.read_u32().await.ok()?;
        let (order, id) = (orders.read_u8().await.ok()?, orders.read_u32().await.ok()?);
        let mut payload = vec![0; length as usize];
        orders.read_exact(&mut payload).await.ok()?;
        let said = match order {
            b'S' => vec![word(b'o', id, b"begun")],
            b'K' if !script.stubborn.load(Ordering::SeqCst) => vec![
                word(b'x', id, br#"{"code":null,"signal":"SIGKILL","oom":false}"#),
                word(b'k', id, br#"{"left":0}"#),
            ],
            b'L' if script.endless.lock().is_none() => {
                let told = script.listed.lock().clone();
                vec![word(b'd', id, told.as_bytes()), word(b'z', id, b"")]
            }
            b'L' => {
                // It says so for as long as anybody listens, and comes to no end.
                let told = script.endless.lock().clone()?;
                loop {
                    sleep(Duration::from_millis(100)).await;
                    words.send(word(b'd', id, &told)).await.ok()?;
                }
            }
            _ => Vec::new(),
        };
        for bytes in said {
            words.send(bytes).await.ok()?;
        }
    }
}

fn word(kind: u8, id: u32, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(payload.len()).unwrap());
    frame.put_u8(kind);
    frame.put_u32(id);
    frame.put_slice(payload);
    frame.freeze()
}

const EPOCH: u64 = 7;

fn table(engine: &Pipes) -> Sandboxes {
    let limits = SandboxLimits {
        slots: 2,
        ..SandboxLimits::default()
    };
    Sandboxes::new(Arc::new(engine.clone()), Arc::new(SystemClock), EPOCH, limits)
}

fn wanted() -> OpenSession {
    OpenSession {
        id: SandboxId::generate(),
        tenant: TenantId::default(),
        owner: "anna".to_owned(),
        image: "node:lts-slim".to_owned(),
        timeout: TimeoutMs::DEFAULT,
        idle: Duration::from_secs(60),
        lives: Duration::from_secs(600),
        memory: None,
    }
}

fn theirs(session: &SandboxSession) -> Owned {
    Owned {
        id: session.id.clone(),
        epoch: EPOCH,
        tenant: session.tenant.clone(),
        owner: session.owner.clone(),
    }
}

fn sleeps(session: &SandboxSession, background: Option<InBackground>) -> Job {
    Job {
        session: Some(SessionWork {
            session: session.id.clone(),
            owner: session.owner.clone(),
            epoch: EPOCH,
            task: SessionTask::Commands {
                commands: vec!["sleep 600".to_owned()],
                continue_on_error: false,
                background,
            },
        }),
        ..job()
    }
}

fn in_background(id: &CommandId, timed: bool) -> Option<InBackground> {
    Some(InBackground {
        id: id.clone(),
        timed,
    })
}

async fn run(sandboxes: &Sandboxes, job: Job) -> Outcome {
    end(sandboxes, job, CancellationToken::new()).await.outcome
}

async fn end(sandboxes: &Sandboxes, job: Job, cancel: CancellationToken) -> Finished {
    let (events, _nobody) = mpsc::channel(1);
    let prepared = sandboxes.prepare(job).await.ok().unwrap();
    prepared.run("{}".into(), events, cancel).await
}

fn reason<T>(refused: Result<T, Rejection>) -> RejectReason {
    refused.err().unwrap().reason
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_nobody_used_it_for_its_time_and_its_sandbox_with_it() {
    let engine = Pipes::default();
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    sleep(Duration::from_secs(50)).await;
    assert_eq!(run(&sandboxes, sleeps(&session, None)).await, Outcome::TimedOut);
    // The end of a use counts, and 30 s of it have passed.
    sleep(Duration::from_secs(50)).await;
    assert_eq!(sandboxes.snapshot().len(), 1);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(sandboxes.snapshot(), []);
    assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
    assert_eq!(
        reason(sandboxes.prepare(sleeps(&session, None)).await),
        RejectReason::SessionLost
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_in_the_background_is_use_and_the_greatest_age_ends_it() {
    let engine = Pipes::default();
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    let id = CommandId::generate();
    assert_eq!(
        run(&sandboxes, sleeps(&session, in_background(&id, false))).await,
        Outcome::Ok
    );
    sleep(Duration::from_secs(590)).await;
    assert!(
        sandboxes
            .find(&theirs(&session))
            .unwrap()
            .command(&id)
            .unwrap()
            .ended
            .is_none()
    );
    sleep(Duration::from_secs(15)).await;
    assert_eq!(sandboxes.snapshot(), []);
    assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn commands_that_are_cut_short_tell_what_became_of_those_that_had_begun() {
    let sandboxes = table(&Pipes::default());
    let session = sandboxes.open(wanted()).await.unwrap();
    let two = || {
        let mut job = sleeps(&session, None);
        if let Some(SessionWork {
            task: SessionTask::Commands { commands, .. },
            ..
        }) = &mut job.session
        {
            commands.push("true".to_owned());
        }
        job
    };
    let cancel = CancellationToken::new();
    let given_up = async {
        sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    };
    let (cancelled, ()) = tokio::join!(end(&sandboxes, two(), cancel.clone()), given_up);
    let late = end(&sandboxes, two(), CancellationToken::new()).await;
    for (finished, outcome, mark) in [
        (late, Outcome::TimedOut, "timedOut"),
        (cancelled, Outcome::Cancelled, "killed"),
    ] {
        assert_eq!(finished.outcome, outcome);
        let told: Value = serde_json::from_slice(&finished.result.unwrap()).unwrap();
        let (first, others) = told["commands"].as_array().unwrap().split_first().unwrap();
        assert_eq!((others.len(), &told["skipped"]), (0, &json!(1)));
        assert_eq!(
            (
                &first["command"],
                &first["stdout"],
                &first["signal"],
                &first[mark]
            ),
            (
                &json!("sleep 600"),
                &json!("begun"),
                &json!("SIGKILL"),
                &json!(true)
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_in_the_background_has_a_time_out_when_its_caller_gave_one() {
    let sandboxes = table(&Pipes::default());
    let session = sandboxes.open(wanted()).await.unwrap();
    let id = CommandId::generate();
    let job = sleeps(&session, in_background(&id, true));
    let timeout = job.timeout.duration();
    assert_eq!(run(&sandboxes, job).await, Outcome::Ok);
    let found = sandboxes.find(&theirs(&session)).unwrap();
    let state = || found.command(&id).unwrap().state;
    sleep(timeout - Duration::from_secs(1)).await;
    assert_eq!(state(), CommandState::Running);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(state(), CommandState::TimedOut);
    let told: Value = serde_json::from_slice(&found.command(&id).unwrap().commands).unwrap();
    assert_eq!(told[0]["timedOut"], true);
    assert_eq!(sandboxes.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_only_looked_at_becomes_idle_all_the_same() {
    let engine = Pipes::default();
    *engine.0.listed.lock() = r#"{"entries":[],"truncated":false}"#.to_owned();
    let sandboxes = table(&engine);
    let (looked_at, used) = (
        sandboxes.open(wanted()).await.unwrap(),
        sandboxes.open(wanted()).await.unwrap(),
    );
    for _ in 0..3 {
        sleep(Duration::from_secs(25)).await;
        if let Some(session) = sandboxes.find(&theirs(&looked_at)) {
            let peek = session.peek().await.unwrap();
            assert_eq!(peek.list("", true, 10).await.unwrap().unwrap().entries, []);
        }
        let session = sandboxes.find(&theirs(&used)).unwrap();
        let transfer = session.transfer().await.unwrap();
        assert_eq!(transfer.list("", true, 10).await.unwrap().unwrap().entries, []);
    }
    let there: Vec<_> = sandboxes
        .snapshot()
        .into_iter()
        .map(|session| session.id)
        .collect();
    assert_eq!(there, [used.id]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_makes_no_sense_is_left_out_of_its_listing_and_ends_no_session() {
    let engine = Pipes::default();
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    let found = sandboxes.find(&theirs(&session)).unwrap();
    let entry = |path: &str, modified: &str| {
        format!(r#"{{"path":"{path}","kind":"file","size":1,"modifiedMs":{modified},"mode":420}}"#)
    };
    let (sound, odd) = (
        entry("/workspace/a", "1"),
        entry("/workspace/b", "100000000000000000000"),
    );
    *engine.0.listed.lock() = format!(r#"{{"entries":[{odd},{sound}],"truncated":false}}"#);
    let list = async || found.transfer().await.unwrap().list("", true, 10).await.unwrap();
    let listing = list().await.unwrap();
    assert_eq!((listing.entries.len(), listing.truncated), (1, true));
    assert_eq!(listing.entries[0].path, "/workspace/a");
    *engine.0.listed.lock() = "no JSON".to_owned();
    assert_eq!(list().await.unwrap_err().kind, FileProblemKind::Refused);
    assert_eq!(sandboxes.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_held_up_to_what_its_entries_can_take() {
    let engine = Pipes::default();
    *engine.0.endless.lock() = Some(vec![b' '; 60_000].into());
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    let found = sandboxes.find(&theirs(&session)).unwrap();
    let listed = found
        .transfer()
        .await
        .unwrap()
        .list("", true, 1_000)
        .await
        .unwrap();
    assert_eq!(listed.unwrap_err().kind, FileProblemKind::TooLarge);
    // The session is there all the same.
    assert_eq!(sandboxes.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_to_no_end_of_a_listing_takes_nobody_else_s_turn_for_long() {
    let engine = Pipes::default();
    *engine.0.endless.lock() = Some(Bytes::from_static(b"["));
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    let found = sandboxes.find(&theirs(&session)).unwrap();
    let began = Instant::now();
    let listed = found.transfer().await.unwrap().list("", true, 1_000).await;
    assert_eq!(listed.unwrap_err(), Lost);
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_sessions_than_places_and_a_place_comes_back() {
    let sandboxes = table(&Pipes::default());
    let (first, again) = (sandboxes.open(wanted()).await.unwrap(), wanted());
    sandboxes.open(again.clone()).await.unwrap();
    assert_eq!(reason(sandboxes.open(wanted()).await), RejectReason::NoCapacity);
    assert_eq!(reason(sandboxes.open(again).await), RejectReason::Unsupported);
    assert!(sandboxes.stop(&theirs(&first)).await);
    assert!(!sandboxes.stop(&theirs(&first)).await);
    assert!(sandboxes.open(wanted()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_before_the_answer_has_opened_nothing() {
    let engine = Pipes::default();
    engine.0.silent.store(true, Ordering::SeqCst);
    let sandboxes = table(&engine);
    for _ in 0..3 {
        let opening = tokio::time::timeout(Duration::from_secs(1), sandboxes.open(wanted()));
        assert!(opening.await.is_err());
        assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
    }
    // Nor has one whose sandbox never says that it is there.
    assert_eq!(reason(sandboxes.open(wanted()).await), RejectReason::Engine);
    assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_found_by_its_owner_in_this_life_of_the_executor_and_by_nobody_else() {
    let sandboxes = table(&Pipes::default());
    let session = sandboxes.open(wanted()).await.unwrap();
    let owner = theirs(&session);
    assert!(sandboxes.find(&owner).is_some());
    for other in [
        Owned {
            id: SandboxId::generate(),
            ..owner.clone()
        },
        Owned {
            epoch: EPOCH - 1,
            ..owner.clone()
        },
        Owned {
            tenant: "other".parse().unwrap(),
            ..owner.clone()
        },
        Owned {
            owner: "bert".to_owned(),
            ..owner.clone()
        },
    ] {
        assert!(sandboxes.find(&other).is_none(), "{other:?}");
        let job = Job {
            tenant: other.tenant.clone(),
            session: sleeps(&session, None).session.map(|work| SessionWork {
                session: other.id.clone(),
                owner: other.owner.clone(),
                epoch: other.epoch,
                ..work
            }),
            ..job()
        };
        assert_eq!(reason(sandboxes.prepare(job).await), RejectReason::SessionLost);
        assert!(!sandboxes.stop(&other).await);
    }
    assert_eq!(sandboxes.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_sandbox_ends_is_lost_to_whoever_waits_for_it() {
    let engine = Pipes::default();
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    let end = async {
        sleep(Duration::from_secs(1)).await;
        engine.0.kill_all.cancel();
    };
    let (outcome, ()) = tokio::join!(run(&sandboxes, sleeps(&session, None)), end);
    assert_eq!(outcome, Outcome::Interrupted);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(sandboxes.snapshot(), []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_end_a_command_loses_its_session() {
    let engine = Pipes::default();
    engine.0.stubborn.store(true, Ordering::SeqCst);
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    assert_eq!(
        run(&sandboxes, sleeps(&session, None)).await,
        Outcome::Interrupted
    );
    sleep(Duration::from_millis(1)).await;
    assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_so_many_commands_at_once_and_gives_their_places_back() {
    let sandboxes = table(&Pipes::default());
    let session = sandboxes.open(wanted()).await.unwrap();
    let mut prepared = Vec::new();
    for _ in 0..super::session::MOST_AT_ONCE {
        prepared.push(sandboxes.prepare(sleeps(&session, None)).await.ok().unwrap());
    }
    assert_eq!(
        reason(sandboxes.prepare(sleeps(&session, None)).await),
        RejectReason::SessionBusy
    );
    prepared.pop();
    assert!(sandboxes.prepare(sleeps(&session, None)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_every_session_and_opens_none_any_more() {
    let engine = Pipes::default();
    let sandboxes = table(&engine);
    let session = sandboxes.open(wanted()).await.unwrap();
    sandboxes.drain();
    assert_eq!(reason(sandboxes.open(wanted()).await), RejectReason::Draining);
    assert_eq!(run(&sandboxes, sleeps(&session, None)).await, Outcome::TimedOut);
    sandboxes.close().await;
    assert_eq!(sandboxes.snapshot(), []);
    assert_eq!(engine.0.there.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_never_at_rest_holds_an_executor_that_leaves_for_the_grace_and_no_longer() {
    let grace = Duration::from_secs(40);
    let (capacity, lifecycle) = (Capacity::new(1), Lifecycle::new(grace));
    let sandboxes = table(&Pipes::default());
    let session = sandboxes.open(wanted()).await.unwrap();
    // Each lasts for its time-out, and there is always another one.
    let always_one = |first: Duration| {
        let (capacity, sandboxes, session) = (capacity.clone(), sandboxes.clone(), session.clone());
        async move {
            sleep(first).await;
            loop {
                let job = sleeps(&session, None);
                let slot = capacity.admit_in_session(&job.id).unwrap();
                run(&sandboxes, job).await;
                drop(slot);
            }
        }
    };
    let with_a_slot = capacity.admit(&JobId::generate()).unwrap();
    let began = Instant::now();
    Leaving::new(capacity.clone(), sandboxes.clone(), lifecycle.clone()).begin("maintenance");
    let leaves = async {
        sleep(grace + Duration::from_secs(5)).await;
        assert!(
            !lifecycle.soft().is_cancelled(),
            "a job with a slot is waited for"
        );
        drop(with_a_slot);
        lifecycle.soft().cancelled().await;
    };
    tokio::select! {
        () = leaves => {}
        () = always_one(Duration::ZERO) => {}
        () = always_one(Duration::from_secs(11)) => {}
    }
    assert_eq!(began.elapsed().as_secs(), grace.as_secs() + 5);
}
