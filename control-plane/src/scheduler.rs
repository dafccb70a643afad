//! Which executor runs a job, and the conversation with it. It knows nodes and jobs; who may run what, and how often, was
//! decided before.

pub mod client;
pub mod fleet;
pub mod placement;
mod refusal;
pub mod retry;
pub mod session_client;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_shared::ids::{ExecutorId, TenantId};
use dynamic_mcp_shared::job::{Dependency, Finished, Job, JobEvent, RejectReason};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::client::{Attempt, ResolveError, Waiting};
use self::fleet::{Fleet, Reservation};
use self::placement::{Need, NoPlace};
use self::refusal::PlacementRefusal;
pub use self::refusal::lacking;
use self::retry::Next;
use self::turns::{AtNode, Turn, Turns};
use crate::metric_names::Stage;

/// How often a waiting job looks again: an executor in this process is asked for its state, and says nothing by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a job waits at one node for a slot, before it looks at all of them again.
const WAIT_AT_NODE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
pub struct SchedulerConfig {
    /// How long a job waits for a free slot, or for a first executor, before it is refused.
    pub max_wait: Duration,
    /// How long a node may take to get a sandbox ready: a cold start on a busy engine.
    pub prepare_deadline: Duration,
    /// The same when dependencies may have to be installed first.
    pub install_deadline: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(10),
            prepare_deadline: Duration::from_secs(30),
            install_deadline: Duration::from_secs(240),
        }
    }
}

pub struct Scheduler {
    fleet: Arc<Fleet>,
    turns: Turns,
    config: SchedulerConfig,
}

/// What is known of the search for one job's place.
#[derive(Default)]
struct Seeking<'a> {
    /// Nodes that have just said so themselves, which are left out of the next look alone: what is known of them here is a
    /// moment old.
    full: Vec<ExecutorId>,
    /// Its number in the line.
    number: Option<u64>,
    /// It waited at a node that had no slot for it in time, and may wait at one again.
    right: Option<AtNode<'a>>,
}

/// What the scheduler did with a job.
#[derive(Debug)]
pub enum Scheduled {
    Finished {
        executor: ExecutorId,
        finished: Box<Finished>,
    },
    /// Nothing of the job ran, anywhere.
    NeverStarted { kind: NeverStarted, message: String },
    /// It had been started, and the node or the way to it was lost.
    Interrupted { executor: ExecutorId, message: String },
    /// Given up before it was started.
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeverStarted {
    /// Every node is full, or none is there: worth trying again.
    NoCapacity,
    /// No node that is there could run it.
    Unsatisfiable,
    /// Every node that was tried refused it.
    Refused,
}

impl Scheduler {
    pub fn new(fleet: Arc<Fleet>, config: SchedulerConfig) -> Self {
        Self {
            fleet,
            turns: Turns::default(),
            config,
        }
    }

    /// Runs a job at most once. A node that refuses it, or is lost before the start was sent, costs nothing: it goes to
    /// another one.
    pub async fn run(
        &self,
        job: Job,
        args: Bytes,
        events: Option<mpsc::Sender<JobEvent>>,
        cancel: &CancellationToken,
    ) -> Scheduled {
        let mut tried: Vec<ExecutorId> = Vec::new();
        let mut seeking = Seeking::default();
        let mut last_refusal: Option<(NeverStarted, String)> = None;
        let give_up_at = Instant::now() + self.config.max_wait;
        loop {
            let asked = Instant::now();
            let node = tokio::select! {
                biased;
                () = cancel.cancelled() => return Scheduled::Cancelled,
                node = self.place(Need::of(&job), &job.tenant, &tried, &mut seeking, give_up_at).instrument(tracing::info_span!("place")) => node,
            };
            let (node, mut waiting) = match (node, last_refusal.take()) {
                (Ok(placed), _) => placed,
                (Err(_), Some((kind, message))) => return Scheduled::NeverStarted { kind, message },
                (Err(refusal), None) => return refusal.into(),
            };
            Stage::Place.record(asked.elapsed());
            let executor = node.executor().clone();
            let deadline = self.prepare_deadline(&job);
            match client::attempt(
                &node,
                job.clone(),
                args.clone(),
                events.clone(),
                cancel,
                deadline,
                &mut waiting,
            )
            .await
            {
                Attempt::Finished(finished) => {
                    Stage::Prepare.record(finished.usage.prepare);
                    Stage::Run.record(finished.usage.duration);
                    return Scheduled::Finished { executor, finished };
                }
                Attempt::Interrupted { message } => return Scheduled::Interrupted { executor, message },
                Attempt::Cancelled => return Scheduled::Cancelled,
                Attempt::NeverStarted {
                    reason: RejectReason::NoCapacity,
                    message,
                } => {
                    let kind = NeverStarted::NoCapacity;
                    if Instant::now() >= give_up_at {
                        return Scheduled::NeverStarted { kind, message };
                    }
                    seeking.full.push(executor);
                    if waiting.at_node() {
                        // Refused at once all the same, it should not ask without end.
                        tokio::time::sleep(LOOK_AGAIN).await;
                        seeking.full.clear();
                        seeking.right = waiting.right.take();
                    }
                    last_refusal = Some((kind, message));
                }
                Attempt::NeverStarted { reason, message } => {
                    tracing::warn!(job.id = %job.id, executor.id = %executor, reason = reason.as_str(), message, "a node did not start the job");
                    let kind = retry::kind(reason);
                    tried.push(executor);
                    match retry::next(reason, tried.len()) {
                        Next::GiveUp => return Scheduled::NeverStarted { kind, message },
                        Next::Elsewhere => last_refusal = Some((kind, message)),
                    }
                }
            }
        }
    }

    /// Runs a job in the sandbox session that it names, at most once, on the node that has the session.
    pub async fn run_in_session(
        &self,
        node: &Reservation,
        job: Job,
        args: Bytes,
        events: Option<mpsc::Sender<JobEvent>>,
        cancel: &CancellationToken,
    ) -> Attempt {
        let deadline = self.prepare_deadline(&job);
        client::attempt(node, job, args, events, cancel, deadline, &mut Waiting::default()).await
    }

    /// Turns dependencies into a lock on any node that has the image.
    ///
    /// # Errors
    /// When they are at fault, or no node could tell.
    pub async fn resolve_dependencies(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        let (node, _) = self
            .place(
                Need::Node { image },
                tenant,
                &[],
                &mut Seeking::default(),
                Instant::now() + self.config.max_wait,
            )
            .await
            .map_err(|refusal| ResolveError::Unavailable(refusal.message()))?;
        client::resolve_dependencies(&node, tenant, image, dependencies, self.config.install_deadline).await
    }

    /// A reserved slot, after a wait if every node is full. Work that no node which is there could ever run is refused
    /// at once.
    async fn place<'a>(
        &'a self,
        need: Need<'_>,
        tenant: &TenantId,
        tried: &[ExecutorId],
        seeking: &mut Seeking<'a>,
        give_up_at: Instant,
    ) -> Result<(Reservation, Waiting<'a>), PlacementRefusal> {
        // One for which not every node will do might hold up the others, and one that waited at a node has had its turn.
        let in_line = tried.is_empty() && seeking.right.is_none();
        let mut turn = (in_line && !self.turns.nobody_waits(need))
            .then(|| self.turns.wait(need, tenant, &mut seeking.number));
        let full = &mut seeking.full;
        loop {
            let (changed, moved) = (self.fleet.changed(), self.turns.moved());
            tokio::pin!(changed, moved);
            changed.as_mut().enable();
            moved.as_mut().enable();
            let why = if turn.as_ref().is_none_or(Turn::has_come) {
                match self.reserve(need, tried, full, seeking.right.take()) {
                    Ok(placed) => {
                        if let Some(turn) = turn {
                            turn.got_it();
                        }
                        return Ok(placed);
                    }
                    Err(why) => why,
                }
            } else {
                NoPlace::Full
            };
            let waiting_helps = match why {
                _ if !full.is_empty() => true,
                NoPlace::Full | NoPlace::NotReady => true,
                // Where all that are left were tried, waiting for a newcomer helps nobody.
                NoPlace::NoNodes => tried.is_empty(),
                NoPlace::NoRuntime | NoPlace::NoImage => false,
            };
            if !waiting_helps || Instant::now() >= give_up_at {
                return Err(PlacementRefusal::new(why, need, &self.fleet));
            }
            if in_line && turn.is_none() {
                turn = Some(self.turns.wait(need, tenant, &mut seeking.number));
            }
            let look_again_at = give_up_at.min(Instant::now() + LOOK_AGAIN);
            // Of nodes that said it themselves no word counts before then: what was known of them was wrong a moment ago.
            let sooner = async {
                match full.is_empty() {
                    true => tokio::select! {
                        () = changed => {}
                        () = moved => {}
                    },
                    false => std::future::pending().await,
                }
            };
            let _unchanged = tokio::time::timeout_at(look_again_at, sooner).await;
            full.clear();
        }
    }

    /// A free slot, or a place at a node that is full.
    fn reserve<'a>(
        &'a self,
        need: Need<'_>,
        tried: &[ExecutorId],
        full: &[ExecutorId],
        right: Option<AtNode<'a>>,
    ) -> Result<(Reservation, Waiting<'a>), NoPlace> {
        let why = if full.len() < retry::MAX_ATTEMPTS {
            match self.fleet.reserve(need, &[tried, full].concat()) {
                Ok(node) => return Ok((node, Waiting::default())),
                Err(why) => why,
            }
        } else {
            NoPlace::Full
        };
        if (why == NoPlace::Full || !full.is_empty())
            && let Some(mut right) = right.or_else(|| self.turns.at_node(need))
            && let Some(node) = self.fleet.reserve_full(need, tried)
        {
            right.is_used = true;
            let waiting = Waiting {
                length: WAIT_AT_NODE,
                right: Some(right),
            };
            return Ok((node, waiting));
        }
        Err(why)
    }

    fn prepare_deadline(&self, job: &Job) -> Duration {
        match job.dependency_lock {
            Some(_) => self.config.install_deadline,
            None => self.config.prepare_deadline,
        }
    }
}

#[cfg(test)]
mod tests;
