//! One call in one child, from the first byte written to the verdict. The deadline and the cancel are outside the
//! conversation, so that no child, however loud or silent, can hold them up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_isolate::frame::{Broken, Kind, Request};
use dynamic_mcp_shared::job::{Finished, Isolation, Job, JobEvent, Placement};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::child::{Child, Said};
use super::judge::{Ending, Limits, is_breach, judge};
use super::nursery::Nursery;
use super::spares::Spares;
use crate::capture::{Capture, Stream};
use crate::engine::PreparedJob;
use crate::finish::Run;
use crate::kept::{self, Keepable as _, KeptShelves};
use crate::progress;
use crate::verdict::Verdict;

/// Reports that are read of one call; the rest is thrown away unread.
const MAX_PROGRESS: u32 = 10_000;
/// Children that a call is given, should each end before it has read the call.
const MOST_SEATS: u32 = 3;

pub type Key = kept::Key<()>;
pub type Resident = kept::Resident<(), Child>;

/// Where children come from and go to.
#[derive(Clone)]
pub struct Shelves {
    pub nursery: Arc<Nursery>,
    pub spares: Arc<Spares>,
    pub kept: Arc<KeptShelves<(), Child>>,
}

pub struct PreparedCall {
    pub job: Job,
    pub limits: Limits,
    pub placement: Placement,
    pub prepare: Duration,
    pub seat: Seat,
}

/// The child of a call. An unused one goes back to where it came from.
pub struct Seat {
    resident: Option<Resident>,
    key: Option<Arc<Key>>,
    shelves: Shelves,
}

impl Seat {
    pub fn new(resident: Resident, key: Option<Arc<Key>>, shelves: Shelves) -> Self {
        Self {
            resident: Some(resident),
            key,
            shelves,
        }
    }

    /// The child, or another one if it has ended while it waited: nothing of the call has run.
    async fn sit(&mut self) -> Result<Resident, String> {
        if let Some(mut resident) = self.resident.take()
            && resident.sandbox.is_quiet()
        {
            return Ok(resident);
        }
        let (child, _) = self.shelves.spares.take().await?;
        let mut resident = Resident::new(child);
        if let Some(key) = &self.key {
            self.shelves.kept.adopt(key, &mut resident);
        }
        Ok(resident)
    }

    /// After the call.
    fn leave(&self, mut resident: Resident, reusable: bool, took: Duration) {
        resident.uses += 1;
        resident.sandbox.served += took;
        if reusable && self.key.is_some() {
            self.shelves.kept.put_back(resident);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.resident.take() {
            Some(used) if used.uses > 0 => self.shelves.kept.put_back(used),
            Some(unused) => self.shelves.spares.give_back(unused.sandbox),
            None => {}
        }
    }
}

#[async_trait]
impl PreparedJob for PreparedCall {
    fn placement(&self) -> Placement {
        self.placement
    }

    #[tracing::instrument(skip_all, fields(job.id = %self.job.id, tenant = %self.job.tenant))]
    async fn run(
        mut self: Box<Self>,
        args: Bytes,
        events: mpsc::Sender<JobEvent>,
        cancel: CancellationToken,
    ) -> Finished {
        let began = Instant::now();
        let mut conversation = Conversation::new(&self.limits, events);
        let deadline = began + self.limits.timeout;
        let mut seats = 0;
        let (mut resident, ending) = loop {
            let seated = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Ending::Cancelled),
                () = sleep_until(deadline) => Err(Ending::Deadline),
                seated = self.seat.sit() => seated.map_err(Ending::Lost),
            };
            let mut resident = match seated {
                Ok(resident) => resident,
                Err(ending) => {
                    let verdict = judge(ending, &self.limits);
                    return self.finished(verdict, conversation.capture, began);
                }
            };
            seats += 1;
            let fresh = resident.uses == 0;
            let message = self.message(fresh, &args);
            let pace = resident.sandbox.pace().keep(fresh);
            let ending = tokio::select! {
                // The first two before the conversation: one that always has something to say would starve them.
                biased;
                () = cancel.cancelled() => Ending::Cancelled,
                () = sleep_until(deadline) => Ending::Deadline,
                ending = conversation.hold(&mut resident.sandbox, &message) => ending,
                never = pace => match never {},
            };
            // Whoever kills a waiting child (the kernel first, when memory runs out) has not interrupted a call.
            let again = matches!(ending, Ending::Unheard(_)) && !is_breach(&ending) && seats < MOST_SEATS;
            if !again {
                break (resident, ending);
            }
        };
        if is_breach(&ending) {
            tracing::warn!("a sandbox did what none can; its zygote is replaced");
            self.seat.shelves.nursery.breached(&resident.sandbox.zygote);
        }
        // A child of one call ends with its last word.
        resident.sandbox.leaving = self.seat.key.is_none() && matches!(ending, Ending::Told(..));
        let verdict = judge(ending, &self.limits);
        self.seat.leave(resident, verdict.reusable, began.elapsed());
        self.finished(verdict, conversation.capture, began)
    }
}

impl PreparedCall {
    fn message(&self, first: bool, args: &Bytes) -> Vec<u8> {
        let request = Request {
            deadline_ms: u32::try_from(self.limits.timeout.as_millis()).unwrap_or(u32::MAX),
            max_result_bytes: u32::try_from(self.limits.max_output_bytes).unwrap_or(u32::MAX),
            memory_kib: u32::try_from(self.limits.memory.0 >> 10).unwrap_or(u32::MAX),
            once: self.job.isolation == Isolation::Call,
            code: first.then_some(&self.job.code),
            args,
        };
        request.encode()
    }

    fn finished(&self, verdict: Verdict, capture: Capture, began: Instant) -> Finished {
        let run = Run {
            job: &self.job,
            placement: self.placement,
            prepare: self.prepare,
            began,
        };
        run.finish(verdict, capture)
    }
}

struct Conversation {
    max_result: usize,
    capture: Capture,
    events: mpsc::Sender<JobEvent>,
    reports: u32,
}

impl Conversation {
    fn new(limits: &Limits, events: mpsc::Sender<JobEvent>) -> Self {
        Self {
            max_result: usize::try_from(limits.max_output_bytes).unwrap_or(usize::MAX),
            capture: Capture::new(limits.max_output_bytes),
            events,
            reports: 0,
        }
    }

    async fn hold(&mut self, child: &mut Child, message: &[u8]) -> Ending {
        // A child reads a whole call before it runs anything, so writing first can't lock up, and one that could not be
        // written the whole of it has run nothing.
        if child.write(message).await.is_err() {
            return unheard(child).await;
        }
        let mut silent = true;
        loop {
            let said = child.next(self.max_result).await;
            let first = std::mem::take(&mut silent);
            match said {
                // Whoever has spoken had a call to speak of.
                Said::Unheard if first => return unheard(child).await,
                Said::Closed | Said::Unheard => return closed(child).await,
                Said::Broken(Broken::TooLarge {
                    kind: Kind::Result, ..
                }) => return Ending::TooLarge,
                Said::Broken(_) => return Ending::Broken,
                Said::Frame(Kind::Stdout, text) => self.capture.push(Stream::Stdout, &text),
                Said::Frame(Kind::Stderr, text) => self.capture.push(Stream::Stderr, &text),
                Said::Frame(Kind::Progress, json) => self.on_progress(&json),
                Said::Frame(Kind::Ready, _) => return Ending::Broken,
                Said::Frame(last, payload) => return Ending::Told(last, payload),
            }
        }
    }

    fn on_progress(&mut self, json: &[u8]) {
        self.reports = self.reports.saturating_add(1);
        if self.reports <= MAX_PROGRESS {
            progress::pass_on(json, &self.events);
        }
    }
}

async fn unheard(child: &mut Child) -> Ending {
    Ending::Unheard(child.exit().await.map(|exit| exit.status))
}

async fn closed(child: &mut Child) -> Ending {
    match child.exit().await {
        Some(exit) => Ending::Exited(exit.status),
        None => Ending::Lost("the sandbox was lost: the process that made it ended".to_owned()),
    }
}
