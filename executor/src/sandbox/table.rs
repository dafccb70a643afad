//! All sandbox sessions of this executor: which there are, whose they are, and how they come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::{SandboxId, TenantId};
use dynamic_mcp_shared::job::{Job, RejectReason, Rejection, SandboxSession, SessionWork};
use dynamic_mcp_shared::limits::{ByteSize, DEFAULT_MAX_FILE_BYTES, MAX_TRANSFER_BYTES, TimeoutMs};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::agent::Agent;
use super::frames::Word;
use super::session::{Parts, Session, Why};
use super::work::{self, SessionJob};
use super::{OpenedSandbox, SandboxSpec};
use crate::engine::{Engine, PreparedJob};
use crate::metric_names;

/// For the engine to make a sandbox, and for the agent in it to say that it is there.
const OPEN: Duration = Duration::from_secs(60);
/// How often whoever waits for sessions looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Listings at once, of all sessions: each is held in memory as a whole.
const LISTINGS: usize = 4;
/// How long the end of the process waits for sessions to end.
const CLOSE: Duration = Duration::from_secs(5);

/// What an operator may set about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Sessions at once.
    pub slots: u32,
    /// Of one file that is written or read.
    pub max_file: ByteSize,
    /// Of all files of one call.
    pub max_transfer: ByteSize,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            slots: 16,
            max_file: ByteSize(DEFAULT_MAX_FILE_BYTES),
            max_transfer: ByteSize(MAX_TRANSFER_BYTES),
        }
    }
}

/// Who opens what.
#[derive(Debug, Clone)]
pub struct OpenSession {
    pub id: SandboxId,
    pub tenant: TenantId,
    pub owner: String,
    pub image: String,
    pub timeout: TimeoutMs,
    pub idle: Duration,
    pub lives: Duration,
    pub memory: Option<ByteSize>,
}

/// Which session, and whose it must be.
#[derive(Debug, Clone)]
pub struct Owned {
    pub id: SandboxId,
    pub epoch: u64,
    pub tenant: TenantId,
    pub owner: String,
}

/// Clones are the same table.
#[derive(Clone)]
pub struct Sandboxes(Arc<Table>);

struct Table {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    epoch: u64,
    limits: SandboxLimits,
    places: Mutex<HashMap<SandboxId, Place>>,
    draining: AtomicBool,
    listings: Arc<Semaphore>,
    tasks: TaskTracker,
}

enum Place {
    /// Its sandbox is being made.
    Opening,
    Open(Arc<Session>),
}

/// A place that is given back unless its session opens.
struct Opening<'a> {
    table: &'a Table,
    id: &'a SandboxId,
    opened: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.opened {
            self.table.leave(self.id);
        }
    }
}

impl Sandboxes {
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, epoch: u64, limits: SandboxLimits) -> Self {
        Self(Arc::new(Table {
            engine,
            clock,
            epoch,
            limits,
            places: Mutex::default(),
            draining: AtomicBool::new(false),
            listings: Arc::new(Semaphore::new(LISTINGS)),
            tasks: TaskTracker::new(),
        }))
    }

    pub fn limits(&self) -> SandboxLimits {
        self.0.limits
    }

    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Sessions it may hold at once; 0 where the engine has no sandboxes for them.
    pub fn slots(&self) -> u32 {
        if self.0.engine.holds_sandboxes() {
            self.0.limits.slots
        } else {
            0
        }
    }

    /// Those that are open, in the order of their ids.
    pub fn snapshot(&self) -> Vec<SandboxSession> {
        let places = self.0.places.lock();
        let mut sessions: Vec<_> = places
            .values()
            .filter_map(|place| match place {
                Place::Opening => None,
                Place::Open(session) => Some(session.snapshot()),
            })
            .collect();
        drop(places);
        sessions.sort_by(|one, other| one.id.cmp(&other.id));
        sessions
    }

    /// Makes a session. Dropping the future before it is there has made none.
    ///
    /// # Errors
    /// While draining, when there are as many as there may be, when the id is taken, and when the engine can't.
    pub async fn open(&self, wanted: OpenSession) -> Result<SandboxSession, Rejection> {
        let table = &self.0;
        let mut place = table.take_place(&wanted.id, self.slots())?;
        let spec = SandboxSpec {
            id: wanted.id.clone(),
            tenant: wanted.tenant.clone(),
            image: wanted.image.clone(),
            memory: wanted.memory,
            lives: wanted.lives,
        };
        let opening = self.open_and_greet(&spec);
        let (opened, agent) = timeout(OPEN, opening).await.unwrap_or_else(|_| {
            let seconds = OPEN.as_secs();
            let message = format!("no sandbox was ready within {seconds} s");
            Err(rejection(RejectReason::Engine, message))
        })?;
        let now_ms = table.clock.now().timestamp_millis();
        let session = Session::new(Parts {
            told: SandboxSession {
                id: wanted.id.clone(),
                tenant: wanted.tenant,
                owner: wanted.owner,
                image: wanted.image,
                timeout: wanted.timeout,
                created_ms: now_ms,
                last_used_ms: now_ms,
            },
            agent,
            memory: opened.memory,
            pids: opened.pids,
            clock: Arc::clone(&table.clock),
            listings: Arc::clone(&table.listings),
            idle: wanted.idle,
            lives: wanted.lives,
        });
        place.opened = true;
        table
            .places
            .lock()
            .insert(wanted.id.clone(), Place::Open(Arc::clone(&session)));
        if table.draining.load(Ordering::Acquire) && table.tasks.is_closed() {
            session.stop.cancel();
        }
        let span = tracing::info_span!("sandbox", sandbox.id = %wanted.id, tenant = %session.told().tenant);
        span.in_scope(|| tracing::info!("a sandbox session is open"));
        table
            .tasks
            .spawn(keep(Arc::clone(table), Arc::clone(&session), opened.lease).instrument(span));
        metrics::counter!(metric_names::SANDBOXES_OPENED_TOTAL).increment(1);
        Ok(session.snapshot())
    }

    async fn open_and_greet(&self, spec: &SandboxSpec) -> Result<(Greeted, Arc<Agent>), Rejection> {
        let OpenedSandbox {
            streams,
            lease,
            memory,
            pids,
        } = self.0.engine.open_sandbox(spec).await?;
        let (agent, carry) = Agent::over(streams);
        let mut greeting = agent.greeting();
        self.0.tasks.spawn(carry);
        // A future that is dropped here takes the sandbox along, and with it the streams that `carry` reads.
        let hello = greeting.next().await;
        if !hello.is_ok_and(|frame| frame.word == Word::Hello) {
            agent.give_up("it did not begin");
            let message = "the sandbox's agent did not start: its image needs Node.js and a shell".to_owned();
            return Err(rejection(RejectReason::Engine, message));
        }
        let greeted = Greeted { lease, memory, pids };
        Ok((greeted, agent))
    }

    /// The session, if it is there and theirs.
    pub fn find(&self, whose: &Owned) -> Option<Arc<Session>> {
        let session = self.0.session(&whose.id)?;
        let told = session.told();
        let theirs = whose.epoch == self.0.epoch && told.tenant == whose.tenant && told.owner == whose.owner;
        theirs.then_some(session)
    }

    /// Ends a session and waits until it is gone. Answers whether there was one of theirs.
    pub async fn stop(&self, whose: &Owned) -> bool {
        let Some(session) = self.find(whose) else {
            return false;
        };
        session.stop.cancel();
        session.ended.cancelled().await;
        true
    }

    /// A job in a session, ready to run.
    ///
    /// # Errors
    /// When the session is not here, or as much runs in it as may.
    pub async fn prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        let Some(work) = &job.session else {
            return Err(lost());
        };
        work::check(&job)?;
        let session = self.session_of(&job, work).ok_or_else(lost)?;
        SessionJob::prepare(job, session.seat()?, &self.0.engine, &self.0.tasks).await
    }

    fn session_of(&self, job: &Job, work: &SessionWork) -> Option<Arc<Session>> {
        self.find(&Owned {
            id: work.session.clone(),
            epoch: work.epoch,
            tenant: job.tenant.clone(),
            owner: work.owner.clone(),
        })
    }

    /// From now on no session is opened; those that are there stay.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Waits until nothing runs in the background of any session.
    pub async fn quiet(&self) {
        self.until_none(|session| session.running_in_background() > 0)
            .await;
    }

    /// Waits until there is no session.
    pub async fn gone(&self) {
        self.until_none(|_| true).await;
    }

    async fn until_none(&self, counts: impl Fn(&Session) -> bool) {
        loop {
            let any = self.0.places.lock().values().any(|place| match place {
                Place::Opening => true,
                Place::Open(session) => counts(session),
            });
            if !any {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends every session and opens none any more.
    pub async fn close(&self) {
        self.drain();
        self.0.tasks.close();
        for place in self.0.places.lock().values() {
            if let Place::Open(session) = place {
                session.stop.cancel();
            }
        }
        if timeout(CLOSE, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("some sandbox sessions did not end in time");
        }
    }
}

/// What is left of an opened sandbox when its streams are in use.
struct Greeted {
    lease: Box<dyn Send + Sync>,
    memory: ByteSize,
    pids: i64,
}

impl Table {
    fn session(&self, id: &SandboxId) -> Option<Arc<Session>> {
        match self.places.lock().get(id) {
            Some(Place::Open(session)) => Some(Arc::clone(session)),
            Some(Place::Opening) | None => None,
        }
    }

    fn take_place<'a>(&'a self, id: &'a SandboxId, slots: u32) -> Result<Opening<'a>, Rejection> {
        if self.draining.load(Ordering::Acquire) {
            let message = "this executor is draining and opens no new sandbox sessions".to_owned();
            return Err(rejection(RejectReason::Draining, message));
        }
        if slots == 0 {
            let message = "this executor has no containers, which sandbox sessions need".to_owned();
            return Err(rejection(RejectReason::Unsupported, message));
        }
        let mut places = self.places.lock();
        if places.contains_key(id) {
            let message = format!("sandbox session {id} is here already");
            return Err(rejection(RejectReason::Unsupported, message));
        }
        if places.len() >= slots as usize {
            let message = format!(
                "all {slots} sandbox sessions of this executor are open (MCP_SANDBOX_SESSION_SLOTS); stop one, or wait \
                 for one to expire"
            );
            return Err(rejection(RejectReason::NoCapacity, message));
        }
        places.insert(id.clone(), Place::Opening);
        count(places.len());
        Ok(Opening {
            table: self,
            id,
            opened: false,
        })
    }

    fn leave(&self, id: &SandboxId) {
        let mut places = self.places.lock();
        places.remove(id);
        count(places.len());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of at most a few thousand")]
fn count(taken: usize) {
    metrics::gauge!(metric_names::SANDBOXES_OPEN).set(taken as f64);
}

/// A session's life.
async fn keep(table: Arc<Table>, session: Arc<Session>, lease: Box<dyn Send + Sync>) {
    let why = session.ending().await;
    session.agent.dismiss();
    drop(lease);
    table.leave(&session.told().id);
    session.ended.cancel();
    metrics::counter!(metric_names::SANDBOXES_ENDED_TOTAL, "reason" => why.as_str()).increment(1);
    if why == Why::Lost {
        tracing::warn!("a sandbox session ended by itself");
    } else {
        tracing::info!(reason = why.as_str(), "a sandbox session ended");
    }
}

pub(super) fn lost() -> Rejection {
    let message = "the sandbox session is not there any more; open a new one".to_owned();
    rejection(RejectReason::SessionLost, message)
}

fn rejection(reason: RejectReason, message: String) -> Rejection {
    Rejection { reason, message }
}
