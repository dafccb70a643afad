//! How many jobs run here at once, which ones, and whether more may come.
//!
//! What outlives a call, such as a sandbox session, takes no slot: it keeps the executor busy, so that one that leaves waits
//! for it as well.
//!
//! The control plane places, and a job that finds no slot is refused at once, unless its control plane knows that all nodes
//! are full and has it wait: then who came first goes first, so that no control plane takes every slot that comes free. A
//! slot is held for the life of its [`Slot`], so it comes back however the job ends.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::JobId;
use dynamic_mcp_shared::job::{RejectReason, Rejection};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Ids of jobs that were started are remembered for so many jobs, so that a late second dispatch does not run.
const REMEMBERED_JOBS: usize = 8_192;
/// Jobs that may wait for a slot, each of another control plane as a rule.
const MAX_WAITING: usize = 64;

#[derive(Debug, Clone)]
pub struct Capacity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    slots: u32,
    state: Mutex<State>,
    busy: watch::Sender<Load>,
    /// Had by the first of those that wait.
    first: tokio::sync::Mutex<()>,
    draining: CancellationToken,
}

/// What there is to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    /// Jobs with a slot, and what else keeps the executor busy.
    slots: usize,
    in_sessions: usize,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    kept_busy: usize,
    waiting: usize,
    running: HashSet<JobId>,
    /// Those that run in a sandbox session, which takes no slot.
    in_sessions: HashSet<JobId>,
    started: StartedJobs,
}

/// The last jobs whose code may have run, the oldest first in `order`.
#[derive(Debug, Default)]
struct StartedJobs {
    ids: HashSet<JobId>,
    order: VecDeque<JobId>,
}

impl Capacity {
    pub fn new(slots: u32) -> Self {
        Self(Arc::new(Shared {
            slots,
            state: Mutex::default(),
            busy: watch::Sender::default(),
            first: tokio::sync::Mutex::default(),
            draining: CancellationToken::new(),
        }))
    }

    /// A slot for this job, unless it may not run here now.
    ///
    /// # Errors
    /// While draining, without a free slot, and for a job that is here or was started here already: two dispatches
    /// of one job never both run.
    pub fn admit(&self, job: &JobId) -> Result<Slot, Rejection> {
        self.admit_if(job, |state| state.waiting == 0)
    }

    /// The same for one that may wait for a slot that comes free.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn admit_within(&self, job: &JobId, wait: Duration) -> Result<Slot, Rejection> {
        let full = match self.admit(job) {
            Err(rejection) if rejection.reason == RejectReason::NoCapacity => rejection,
            ended => return ended,
        };
        let Some(_waiting) = self.join_line() else {
            return Err(full);
        };
        let waiting = async {
            let _first = self.0.first.lock().await;
            let mut busy = self.0.busy.subscribe();
            loop {
                match self.admit_if(job, |_| true) {
                    Err(rejection) if rejection.reason == RejectReason::NoCapacity => {}
                    ended => return ended,
                }
                tokio::select! {
                    _ = busy.changed() => {}
                    () = self.0.draining.cancelled() => {}
                }
            }
        };
        tokio::time::timeout(wait, waiting).await.unwrap_or(Err(full))
    }

    fn join_line(&self) -> Option<Waiting> {
        let mut state = self.0.state.lock();
        if state.waiting >= MAX_WAITING {
            return None;
        }
        state.waiting += 1;
        Some(Waiting(Arc::clone(&self.0)))
    }

    fn admit_if(&self, job: &JobId, may: impl FnOnce(&State) -> bool) -> Result<Slot, Rejection> {
        let mut state = self.0.state.lock();
        if state.draining {
            return Err(rejection(
                RejectReason::Draining,
                "this executor is draining and takes no new jobs",
            ));
        }
        state.check_new(job)?;
        if state.running.len() >= self.0.slots as usize || !may(&state) {
            return Err(rejection(
                RejectReason::NoCapacity,
                format!("all {} slots of this executor are taken", self.0.slots),
            ));
        }
        state.running.insert(job.clone());
        Ok(self.slot(job, &state))
    }

    /// The right of a job to run in a sandbox session that is here, also while draining: the session has its grace, and
    /// bounds what runs in it.
    ///
    /// # Errors
    /// For a job that is here or was started here already.
    pub fn admit_in_session(&self, job: &JobId) -> Result<Slot, Rejection> {
        let mut state = self.0.state.lock();
        state.check_new(job)?;
        state.in_sessions.insert(job.clone());
        Ok(self.slot(job, &state))
    }

    fn slot(&self, job: &JobId, state: &State) -> Slot {
        self.0.tell_busy(state);
        Slot {
            job: job.clone(),
            shared: Arc::clone(&self.0),
        }
    }

    pub fn slots(&self) -> u32 {
        self.0.slots
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        self.0.state.lock().running.len()
    }

    /// The jobs that run here, those in sandbox sessions as well, sorted.
    pub fn running_jobs(&self) -> Vec<JobId> {
        let state = self.0.state.lock();
        let mut jobs: Vec<_> = state.running.iter().chain(&state.in_sessions).cloned().collect();
        jobs.sort();
        jobs
    }

    /// From now on every job is refused; what runs goes on. Answers whether that is news.
    pub fn drain(&self) -> bool {
        let is_news = !std::mem::replace(&mut self.0.state.lock().draining, true);
        self.0.draining.cancel();
        is_news
    }

    /// Cancelled when the executor takes no new work any more.
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Keeps the executor busy until it is dropped, without a slot. `None` while draining.
    pub fn keep_busy(&self) -> Option<Busy> {
        let mut state = self.0.state.lock();
        if state.draining {
            return None;
        }
        state.kept_busy += 1;
        self.0.tell_busy(&state);
        Some(Busy(Arc::clone(&self.0)))
    }

    pub fn is_draining(&self) -> bool {
        self.0.state.lock().draining
    }

    /// Waits until no job runs here, and nothing else keeps the executor busy.
    pub async fn idle(&self) {
        // The sender is in `self`, so it can't be gone.
        let mut busy = self.0.busy.subscribe();
        let _never_closed = busy.wait_for(|load| *load == Load::default()).await;
    }

    /// The same without the jobs in sandbox sessions, which may follow one another for as long as their sessions last.
    pub async fn slots_idle(&self) {
        let mut busy = self.0.busy.subscribe();
        let _never_closed = busy.wait_for(|load| load.slots == 0).await;
    }
}

impl Shared {
    fn tell_busy(&self, state: &State) {
        self.busy.send_replace(state.load());
    }
}

/// Something that an executor waits for before it leaves.
#[derive(Debug)]
pub struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.kept_busy -= 1;
        self.0.tell_busy(&state);
    }
}

/// A job that waits for a slot.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// One job's right to run.
#[derive(Debug)]
pub struct Slot {
    job: JobId,
    shared: Arc<Shared>,
}

impl Slot {
    /// From here on the job's code may have run, so its id is never admitted again.
    pub fn mark_started(&self) {
        self.shared.state.lock().started.remember(self.job.clone());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if !state.running.remove(&self.job) {
            state.in_sessions.remove(&self.job);
        }
        self.shared.tell_busy(&state);
    }
}

impl State {
    fn load(&self) -> Load {
        Load {
            slots: self.running.len() + self.kept_busy,
            in_sessions: self.in_sessions.len(),
        }
    }

    fn check_new(&self, job: &JobId) -> Result<(), Rejection> {
        if self.running.contains(job) || self.in_sessions.contains(job) || self.started.ids.contains(job) {
            return Err(rejection(
                RejectReason::Unsupported,
                format!("job {job} was already dispatched to this executor"),
            ));
        }
        Ok(())
    }
}

impl StartedJobs {
    fn remember(&mut self, job: JobId) {
        if !self.ids.insert(job.clone()) {
            return;
        }
        self.order.push_back(job);
        if self.order.len() > REMEMBERED_JOBS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

fn rejection(reason: RejectReason, message: impl Into<String>) -> Rejection {
    let message = message.into();
    Rejection { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(capacity: &Capacity, job: &JobId) -> RejectReason {
        capacity.admit(job).unwrap_err().reason
    }

    #[test]
    fn a_slot_comes_back_when_it_is_dropped() {
        let capacity = Capacity::new(1);
        let slot = capacity.admit(&JobId::generate()).unwrap();
        assert_eq!(refusal(&capacity, &JobId::generate()), RejectReason::NoCapacity);
        drop(slot);
        assert!(capacity.admit(&JobId::generate()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_a_slot_in_the_order_of_coming_before_those_who_come_later() {
        const LONG: Duration = Duration::from_secs(10);
        let capacity = Capacity::new(1);
        let jobs = [(); 3].map(|()| JobId::generate());
        let slot = capacity.admit(&jobs[0]).unwrap();
        let mut first = Box::pin(capacity.admit_within(&jobs[1], LONG));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(capacity.admit_within(&jobs[2], LONG));
        assert!(futures::poll!(&mut second).is_pending());
        drop(slot);
        assert_eq!(refusal(&capacity, &JobId::generate()), RejectReason::NoCapacity);
        assert!(futures::poll!(&mut second).is_pending());
        let slot = first.await.unwrap();
        assert!(futures::poll!(&mut second).is_pending());
        drop(slot);
        drop(second.await.unwrap());
        assert!(capacity.admit(&JobId::generate()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_or_for_an_executor_that_leaves() {
        let capacity = Capacity::new(1);
        let _slot = capacity.admit(&JobId::generate()).unwrap();
        let refused = async |wait| {
            let job = JobId::generate();
            let refused = capacity.admit_within(&job, wait).await;
            refused.unwrap_err().reason
        };
        assert_eq!(refused(Duration::ZERO).await, RejectReason::NoCapacity);
        assert_eq!(refused(Duration::from_secs(1)).await, RejectReason::NoCapacity);
        let drain = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            capacity.drain();
        };
        let (reason, ()) = tokio::join!(refused(Duration::from_secs(60)), drain);
        assert_eq!(reason, RejectReason::Draining);
    }

    #[test]
    fn one_job_is_never_here_twice() {
        let capacity = Capacity::new(4);
        let job = JobId::generate();
        let slot = capacity.admit(&job).unwrap();
        assert_eq!(refusal(&capacity, &job), RejectReason::Unsupported);
        slot.mark_started();
        drop(slot);
        assert_eq!(refusal(&capacity, &job), RejectReason::Unsupported);
    }

    #[tokio::test]
    async fn a_job_in_a_session_takes_no_slot_and_is_waited_for_all_the_same() {
        let capacity = Capacity::new(1);
        let (one, other) = (JobId::generate(), JobId::generate());
        let in_session = capacity.admit_in_session(&one).unwrap();
        assert_eq!(refusal(&capacity, &one), RejectReason::Unsupported);
        drop(capacity.admit(&other).unwrap());
        assert_eq!((capacity.taken(), capacity.running_jobs()), (0, vec![one]));
        capacity.drain();
        drop(capacity.admit_in_session(&JobId::generate()).unwrap());
        capacity.slots_idle().await;
        let idle = capacity.idle();
        tokio::pin!(idle);
        assert!(futures::poll!(&mut idle).is_pending());
        drop(in_session);
        idle.await;
    }

    #[test]
    fn a_job_that_never_started_may_come_again() {
        let capacity = Capacity::new(4);
        let job = JobId::generate();
        drop(capacity.admit(&job).unwrap());
        assert!(capacity.admit(&job).is_ok());
    }

    #[test]
    fn the_memory_of_started_jobs_is_bounded() {
        let capacity = Capacity::new(1);
        for _ in 0..REMEMBERED_JOBS + 10 {
            capacity.admit(&JobId::generate()).unwrap().mark_started();
        }
        let state = capacity.0.state.lock();
        assert_eq!(state.started.ids.len(), REMEMBERED_JOBS);
        assert_eq!(state.started.order.len(), REMEMBERED_JOBS);
    }

    #[tokio::test]
    async fn what_keeps_the_executor_busy_takes_no_slot_and_is_waited_for() {
        let capacity = Capacity::new(1);
        let session = capacity.keep_busy().unwrap();
        assert!(capacity.admit(&JobId::generate()).is_ok());
        assert!(!capacity.draining().is_cancelled());
        capacity.drain();
        assert!(capacity.draining().is_cancelled() && capacity.keep_busy().is_none());
        let idle = capacity.idle();
        tokio::pin!(idle);
        assert!(futures::poll!(&mut idle).is_pending());
        drop(session);
        idle.await;
    }

    #[tokio::test]
    async fn draining_refuses_new_jobs_and_ends_with_the_last_running_one() {
        let capacity = Capacity::new(2);
        let slot = capacity.admit(&JobId::generate()).unwrap();
        assert!(capacity.drain());
        assert!(!capacity.drain());
        assert_eq!(refusal(&capacity, &JobId::generate()), RejectReason::Draining);
        let idle = capacity.idle();
        tokio::pin!(idle);
        assert!(futures::poll!(&mut idle).is_pending());
        drop(slot);
        idle.await;
    }
}
