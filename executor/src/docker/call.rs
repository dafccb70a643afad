//! One call in one sandbox, from the first byte written to the verdict. The deadline and the cancel are outside the
//! conversation, so that no sandbox, however loud or silent, can hold them up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::job::{Finished, Isolation, Job, JobEvent, Placement};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::container::Container;
use super::conversation::{Conversation, call_header};
use super::frames::Nonce;
use super::outcome::{Ending, Limits, judge};
use super::policy::SandboxShape;
use super::pool::Pool;
use crate::capture::Capture;
use crate::engine::PreparedJob;
use crate::finish::Run;
use crate::kept::{self, KeptShelves};
use crate::verdict::Verdict;

/// Why the engine can't be relied on; `None` when it can.
pub type Availability = watch::Receiver<Option<String>>;

pub type Key = kept::Key<SandboxShape>;
pub type Resident = kept::Resident<SandboxShape, Container>;

/// Where sandboxes come from and go to.
#[derive(Clone)]
pub struct Shelves {
    pub pool: Arc<Pool>,
    pub kept: Arc<KeptShelves<SandboxShape, Container>>,
}

pub struct PreparedCall {
    pub job: Job,
    pub limits: Limits,
    pub placement: Placement,
    pub prepare: Duration,
    pub seat: Seat,
    pub availability: Availability,
}

/// The sandbox of a call. An unused one goes back to where it came from.
pub struct Seat {
    resident: Option<Resident>,
    isolation: Isolation,
    shelves: Shelves,
}

impl Seat {
    pub fn new(resident: Resident, isolation: Isolation, shelves: Shelves) -> Self {
        Self {
            resident: Some(resident),
            isolation,
            shelves,
        }
    }

    /// After the call.
    fn leave(&mut self, mut resident: Resident, reusable: bool) {
        resident.uses += 1;
        resident.sandbox.busy = !reusable;
        if reusable && self.isolation == Isolation::Tool {
            self.shelves.kept.put_back(resident);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.resident.take() {
            Some(used) if used.uses > 0 => self.shelves.kept.put_back(used),
            Some(unused) => self.shelves.pool.give_back(unused.sandbox),
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
        let Some(mut resident) = self.seat.resident.take() else {
            unreachable!("a call is run once");
        };
        let mut conversation = Conversation::new(self.job.max_output_bytes, events);
        resident.sandbox.busy = true;
        let message = self.message(&conversation.nonce, resident.uses == 0, &args);
        let ending = tokio::select! {
            // The first two before the conversation: one that always has something to say would starve them.
            biased;
            () = cancel.cancelled() => Ending::Cancelled,
            () = sleep_until(began + self.limits.timeout) => Ending::Deadline,
            why = lost(&mut self.availability) => Ending::Lost(why),
            ending = conversation.hold(&mut resident.sandbox, &message) => ending,
        };
        let verdict = judge(ending, &self.limits, &conversation.capture.stderr_tail());
        self.seat.leave(resident, verdict.reusable);
        self.finished(verdict, conversation.capture, began)
    }
}

impl PreparedCall {
    fn message(&self, nonce: &Nonce, first: bool, args: &Bytes) -> Vec<u8> {
        let code = first.then_some(&self.job.code);
        let once = self.job.isolation == Isolation::Call;
        let header = call_header(
            nonce,
            code.map(Bytes::len),
            args.len(),
            self.limits.max_output_bytes,
            once,
        );
        [header.as_bytes(), code.map_or(&[], Bytes::as_ref), args].concat()
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

async fn lost(availability: &mut Availability) -> String {
    loop {
        if let Some(why) = availability.borrow_and_update().clone() {
            return why;
        }
        if availability.changed().await.is_err() {
            // The engine is being shut down; its jobs end by their own tokens.
            std::future::pending::<()>().await;
        }
    }
}
