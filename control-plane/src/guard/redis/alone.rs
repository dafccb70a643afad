//! A replica on its own, while Redis is away and calls are to be let in all the same: it enforces its share of what is
//! allowed, by a guard of this process in which what runs already has its places.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::{GuardConfig, GuardLimits, MemoryGuard, Refusal, Scope, Share};
use super::permit::RedisPermit;
use super::{OnStoreLoss, Shared};

/// The most that a call waits for a slot then, since the answer is to come within a second of the loss.
const MAX_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<Option<Arc<MemoryGuard>>>);

impl Alone {
    /// `None`: Redis is there.
    pub(super) fn guard(&self) -> Option<Arc<MemoryGuard>> {
        self.0.lock().clone()
    }
}

impl Shared {
    pub(super) fn goes_alone(&self) -> bool {
        self.config.on_loss == OnStoreLoss::Local
    }

    pub(super) fn go_alone(&self) {
        let mut alone = self.alone.0.lock();
        if alone.is_none() {
            let replicas = self.replicas();
            tracing::warn!(
                replicas,
                "the guard's store is away: this replica lets in its share by itself"
            );
            let guard = Arc::new(MemoryGuard::new(config_of_one(self.config.guard, replicas)));
            self.held.make_local(|tenant| guard.occupy(tenant));
            *alone = Some(guard);
        }
    }

    /// All that runs has been counted in at Redis.
    pub(super) fn go_together(&self) {
        if self.alone.0.lock().take().is_some() {
            tracing::info!("the guard's store is back");
            self.held.drop_places();
        }
    }

    pub(super) async fn acquire_alone(
        self: &Arc<Self>,
        guard: &MemoryGuard,
        scope: &Scope,
        share: Share,
    ) -> Result<RedisPermit, Refusal> {
        let local = guard.admit(scope, share_of_one(share, self.replicas())).await?;
        let ticket = self.store.ticket(&scope.tenant, self.next_number());
        let revoked = self.held.add_local(&ticket, &scope.tenant);
        if self.alone.guard().is_none() {
            // Redis came back meanwhile, and knows nothing of this one.
            self.renew_now.notify_one();
        }
        self.counted(scope).counters.count_allowed();
        Ok(RedisPermit::new(
            self.clone(),
            ticket,
            scope.clone(),
            revoked,
            Some(local),
        ))
    }
}

fn config_of_one(config: GuardConfig, replicas: u32) -> GuardConfig {
    GuardConfig {
        limits: GuardLimits {
            max_concurrency: part(config.limits.max_concurrency, replicas),
            max_calls_per_window: part(config.limits.max_calls_per_window, replicas),
            window_ms: config.limits.window_ms,
        },
        queue_wait: config.queue_wait.min(MAX_WAIT),
        max_waiting: config.max_waiting,
    }
}

fn share_of_one(share: Share, replicas: u32) -> Share {
    Share {
        max_concurrency: part(share.max_concurrency, replicas),
        max_calls_per_window: share.max_calls_per_window.map(|limit| part(limit, replicas)),
        weight: share.weight,
    }
}

/// Nothing of nothing, otherwise one at least.
fn part(limit: u32, replicas: u32) -> u32 {
    (limit / replicas.max(1)).max(limit.min(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_all_are_no_more_than_the_whole_unless_there_are_fewer_than_replicas(
            limit in 0_u32..1_000,
            replicas in 1_u32..50,
        ) {
            let each = part(limit, replicas);
            prop_assert!(each * replicas <= limit.max(replicas));
            prop_assert_eq!(each == 0, limit == 0, "who is stopped stays so, and nobody else is");
        }
    }
}
