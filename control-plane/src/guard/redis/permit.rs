//! A slot that a call of this replica holds.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::{Permit, Scope};
use super::Shared;
use super::returns::{Count, Return};
use crate::metric_names;

pub(super) struct RedisPermit {
    shared: Arc<Shared>,
    ticket: String,
    pub(super) scope: Scope,
    failed: bool,
    begun: Instant,
    revoked: CancellationToken,
    /// Of a replica that was on its own when the call began. It counts what runs, too.
    local: Option<Box<dyn Permit>>,
    /// Dropped last: then it has been given back.
    _user: TaskTrackerToken,
}

impl RedisPermit {
    pub(super) fn new(
        shared: Arc<Shared>,
        ticket: String,
        scope: Scope,
        revoked: CancellationToken,
        local: Option<Box<dyn Permit>>,
    ) -> Self {
        if local.is_none() {
            metrics::gauge!(metric_names::GUARD_ACTIVE).increment(1.0);
        }
        Self {
            _user: shared.users.token(),
            shared,
            ticket,
            scope,
            failed: false,
            begun: Instant::now(),
            revoked,
            local,
        }
    }
}

impl Permit for RedisPermit {
    fn mark_failed(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.shared.counted(&self.scope).counters.count_failed();
        }
    }

    fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}

impl Drop for RedisPermit {
    fn drop(&mut self) {
        if self.local.is_none() {
            metrics::gauge!(metric_names::GUARD_ACTIVE).decrement(1.0);
        }
        self.shared.advice.learn(self.begun.elapsed());
        self.shared.held.remove(&self.ticket);
        let count = if self.failed {
            Count::Failed
        } else {
            Count::Nothing
        };
        let ticket = std::mem::take(&mut self.ticket);
        self.shared
            .returns
            .push(Return::new(ticket, self.scope.clone(), count));
    }
}
