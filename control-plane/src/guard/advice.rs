//! When a call that found every slot taken is told to come back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::slots::Taken;
use super::{GuardConfig, Refusal};

/// What a client is told to wait before a slot may be free lies between these.
pub(super) const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// What an execution is taken to last before one has ended.
const FIRST_GUESS_US: u64 = 500_000;

/// A moving average of how long executions hold their slot. Two that end at once may lose one sample.
#[derive(Debug)]
pub(super) struct Advice(AtomicU64);

impl Default for Advice {
    fn default() -> Self {
        Self(AtomicU64::new(FIRST_GUESS_US))
    }
}

impl Advice {
    pub(super) fn learn(&self, run: Duration) {
        let run = u64::try_from(run.as_micros()).unwrap_or(u64::MAX);
        let typical = self.0.load(Ordering::Relaxed);
        let average = (typical.saturating_mul(7).saturating_add(run)) / 8;
        self.0.store(average, Ordering::Relaxed);
    }

    /// An estimate: those who wait go first, and each slot is free again after a typical run.
    pub(super) fn refusal(&self, taken: Taken) -> Refusal {
        let ahead = u32::try_from(taken.ahead).unwrap_or(u32::MAX);
        let typical = Duration::from_micros(self.0.load(Ordering::Relaxed));
        let wait = typical.saturating_mul(ahead.saturating_add(1)) / taken.limit.max(1);
        let wait = if taken.limit == 0 { MAX_RETRY } else { wait };
        Refusal::Concurrency {
            limit: taken.limit,
            by_tenant: taken.by_tenant,
            retry_after: whole_ms(wait.clamp(MIN_RETRY, MAX_RETRY)),
        }
    }
}

/// When the window may have a place. `wait`: until its oldest beginning leaves it; `None` when none has begun, because
/// calls that wait hold its places, or because it has none.
pub(super) fn rate_retry(wait: Option<Duration>, limit: u32, config: &GuardConfig) -> Duration {
    let without = match limit {
        0 => Duration::from_millis(config.limits.window_ms),
        _ => config.queue_wait,
    };
    whole_ms(wait.unwrap_or(without))
}

/// Rounded up, so that a client that waits as many milliseconds as it is told does not come too early.
pub(super) fn whole_ms(wait: Duration) -> Duration {
    let ms = wait.as_nanos().div_ceil(1_000_000).max(1);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}
