//! The task that renews the leases of this replica, and ends the calls of those that it can't.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::held::tenant_of;
use super::returns::{Count, Return};
use super::store::StoreError;
use super::waiters::Told;
use crate::guard::Scope;
use crate::metric_names;

/// How soon it is tried again after it failed.
const TRY_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked, in a shutdown, whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many leases go in one script: it should not keep Redis for long.
const BATCH: usize = 1_000;
/// How many counts do.
const COUNTS: usize = 200;

/// Until a shutdown has let everything go.
pub(super) async fn keep(shared: Arc<Shared>, mut up: watch::Receiver<bool>) {
    let mut said = None;
    while !(shared.lifecycle.soft().is_cancelled() && shared.is_idle()) {
        // Before it is asked, too: where this process was held still, the answer would come too late.
        shared.end_overdue();
        let renewed = shared.renew().await;
        shared.end_overdue();
        match renewed {
            Ok(()) => {
                said = None;
                shared.tell_refused().await;
                let due = Instant::now() + shared.config.lease.renew_every;
                let due = shared.held.next_overdue().map_or(due, |overdue| overdue.min(due));
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = shared.renew_now.notified() => {}
                    () = changed(&mut up) => {}
                    () = shared.done() => {}
                }
            }
            Err(error) => {
                // That Redis is away is said where its connection is kept.
                if !error.is_loss() && said.as_ref() != Some(&error) {
                    tracing::error!(%error, "Redis is there and does not do what the guard asks of it");
                    said = Some(error);
                }
                tokio::select! {
                    () = tokio::time::sleep(TRY_EVERY) => {}
                    () = changed(&mut up) => {}
                }
            }
        }
    }
    shared.tell_refused().await;
    if let Err(error) = shared.store.leave().await {
        tracing::debug!(%error, "this replica counts among those that live until its heartbeat expires");
    }
}

async fn changed(up: &mut watch::Receiver<bool>) {
    if up.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Shared {
    /// Renews what this replica holds, and counts it in anew where Redis has lost it.
    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        let _user = self.users.token();
        // One after another: the second finds what the first counted in.
        let _turn = self.renewing.lock().await;
        let held = self.held.tickets();
        let none = [];
        // Without leases it is a heartbeat.
        let batches: Vec<_> = if held.is_empty() {
            vec![&none[..]]
        } else {
            held.chunks(BATCH).collect()
        };
        let mut epoch = String::new();
        for batch in batches {
            let asked_at = Instant::now();
            let renewed = self.store.renew(batch).await?;
            let until = asked_at + self.lease_of_call();
            for ticket in self.held.renewed(batch, &renewed.gone, until) {
                self.give_back_again(ticket);
            }
            self.end(self.held.revoke(&renewed.gone), "another has their slots");
            self.set_replicas(renewed.replicas);
            epoch = renewed.epoch;
        }
        // Only now, so that with a batch that failed all of them are counted in again.
        if self.store.know(epoch) {
            self.waiters.tell_all(Told::Anew);
        }
        self.go_together();
        Ok(())
    }

    fn end_overdue(&self) {
        let now = Instant::now();
        if self.held.next_overdue().is_none_or(|overdue| overdue > now) {
            return;
        }
        if self.goes_alone() {
            self.go_alone();
        } else {
            self.end(self.held.revoke_overdue(now), "their leases could not be renewed");
        }
    }

    fn end(&self, calls: u64, why: &'static str) {
        if calls > 0 {
            tracing::warn!(calls, why, "calls are ended");
            metrics::counter!(metric_names::GUARD_REVOKED).increment(calls);
        }
    }

    /// It was given back while the script was on its way that may have counted it in.
    fn give_back_again(&self, ticket: String) {
        if let Some(tenant) = tenant_of(&ticket) {
            let scope = Scope {
                tenant,
                name: String::new(),
            };
            self.returns.push(Return::new(ticket, scope, Count::Nothing));
        }
    }

    /// Tells Redis of the calls that this replica refused by itself.
    async fn tell_refused(&self) {
        let counted = self.refused.counted();
        let mut left = counted.as_slice();
        while !left.is_empty() {
            let (batch, later) = left.split_at(left.len().min(COUNTS));
            if let Err(error) = self.store.count(batch).await {
                tracing::debug!(%error, "refusals are counted later");
                // Each try may cost its deadline, and leases are to be renewed.
                return self.refused.count_again(left);
            }
            left = later;
        }
    }

    /// A shutdown has let everything go.
    async fn done(&self) {
        self.lifecycle.soft().cancelled().await;
        while !self.is_idle() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
