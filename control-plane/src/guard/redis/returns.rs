//! What goes back to Redis, after the answer to the caller and not before it. What comes while one batch is on its way
//! goes with the next.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::Scope;
use super::Shared;

/// How many go in one script: it should not keep Redis for long.
const BATCH: usize = 200;
/// How often it is looked, in a shutdown, whether all is back.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How soon it is tried again while Redis is away.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// A slot, or the place of a call that waits no more.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) ticket: String,
    pub(super) scope: Scope,
    pub(super) count: Count,
    since: Instant,
}

impl Return {
    pub(super) fn new(ticket: String, scope: Scope, count: Count) -> Self {
        Self {
            ticket,
            scope,
            count,
            since: Instant::now(),
        }
    }
}

/// What is counted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Nothing,
    Failed,
    RejectedConcurrency,
}

impl Count {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Count::Nothing => "",
            Count::Failed => "f",
            Count::RejectedConcurrency => "c",
        }
    }
}

/// No longer than there were slots and places to wait.
#[derive(Debug, Default)]
pub(super) struct Returns {
    waiting: Mutex<Vec<Return>>,
    some: Notify,
}

impl Returns {
    pub(super) fn push(&self, back: Return) {
        self.waiting.lock().push(back);
        self.some.notify_one();
    }

    /// For another try, but for those that have come back by their expiry.
    fn keep(&self, mut batch: Vec<Return>, length: Duration) {
        batch.retain(|back| back.since.elapsed() < length);
        self.waiting.lock().append(&mut batch);
    }

    fn take(&self) -> Vec<Return> {
        let mut waiting = self.waiting.lock();
        let most = waiting.len().min(BATCH);
        waiting.drain(..most).collect()
    }
}

/// Until a shutdown has let everything go.
pub(super) async fn give_back(shared: Arc<Shared>) {
    let soft = shared.lifecycle.soft();
    loop {
        let batch = shared.returns.take();
        if !batch.is_empty() {
            let Err(error) = shared.store.give_back(&batch).await else {
                continue;
            };
            tracing::debug!(%error, slots = batch.len(), "slots were not given back");
            if error.is_loss() && !soft.is_cancelled() {
                shared.returns.keep(batch, shared.config.lease.length);
                let _stopped = tokio::time::timeout(TRY_EVERY, soft.cancelled()).await;
            }
        } else if soft.is_cancelled() {
            if shared.is_idle() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        } else {
            tokio::select! {
                () = shared.returns.some.notified() => {}
                () = soft.cancelled() => {}
            }
        }
    }
}

impl Shared {
    /// Nothing asks, runs, waits or is to be given back.
    pub(super) fn is_idle(&self) -> bool {
        // Users first: one that is gone has pushed what it gave back.
        self.users.is_empty()
            && self.held.is_empty()
            && self.waiters.is_empty()
            && self.returns.waiting.lock().is_empty()
    }
}
