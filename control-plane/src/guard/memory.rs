//! The guard of one process.
//!
//! ```text
//! place in the window? ──no──▶ refused (rate)
//!        │ held
//! slot free? ──no──▶ queue full? ──yes──▶ refused (concurrency), the place is given back
//!        │                 └──no──▶ wait, first come first served ──too long──▶ the same
//! the call begins: its place counts from now
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::scopes::{Bounds, ScopeState, Scopes};
use super::window::WindowLimit;
use super::{Guard, GuardLimits, GuardMetrics, Permit, Refusal, Scope};
use crate::metric_names;

const BOUNDS: Bounds = Bounds {
    scopes_per_tenant: 4_096,
    tenants: 10_000,
};
/// What a client is told to wait before a slot may be free lies between these.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// What an execution is taken to last before one has ended.
const FIRST_GUESS_US: u64 = 500_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryGuardConfig {
    pub limits: GuardLimits,
    /// How long a call may wait for a slot; zero refuses at once.
    pub queue_wait: Duration,
    /// How many calls may wait at the same time.
    pub max_waiting: usize,
}

#[derive(Debug)]
pub struct MemoryGuard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: MemoryGuardConfig,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    scopes: Mutex<Scopes>,
    /// A moving average of how long executions hold their slot. Two that end at once may lose one sample.
    typical_run_us: AtomicU64,
}

impl MemoryGuard {
    pub fn new(config: MemoryGuardConfig) -> Self {
        let window = Duration::from_millis(config.limits.window_ms);
        Self {
            shared: Arc::new(Shared {
                config,
                slots: Arc::new(Semaphore::new(config.limits.max_concurrency as usize)),
                waiting: AtomicUsize::new(0),
                scopes: Mutex::new(Scopes::new(BOUNDS, window)),
                typical_run_us: AtomicU64::new(FIRST_GUESS_US),
            }),
        }
    }
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn acquire(&self, scope: &Scope) -> Result<Box<dyn Permit>, Refusal> {
        let place = self.shared.hold_place(scope).inspect_err(count_refusal)?;
        let slot = match Arc::clone(&self.shared.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => match self.shared.wait_for_slot().await {
                Some(slot) => slot,
                None => {
                    place.scope.counters.count_rejected_concurrency();
                    return Err(self.shared.concurrency_refusal()).inspect_err(count_refusal);
                }
            },
        };
        let scope = place.begin();
        metrics::gauge!(metric_names::GUARD_ACTIVE).increment(1.0);
        Ok(Box::new(MemoryPermit {
            shared: Arc::clone(&self.shared),
            scope,
            failed: false,
            begun: Instant::now(),
            slot: Some(slot),
        }))
    }

    async fn metrics(&self, tenant: &TenantId) -> GuardMetrics {
        let limits = self.shared.config.limits;
        let free = u32::try_from(self.shared.slots.available_permits()).unwrap_or(u32::MAX);
        GuardMetrics {
            active_executions: limits.max_concurrency.saturating_sub(free),
            limits,
            scopes: self.shared.scopes.lock().metrics(tenant),
        }
    }
}

impl Shared {
    fn rule(&self) -> WindowLimit {
        let limits = self.config.limits;
        WindowLimit {
            limit: limits.max_calls_per_window,
            length: Duration::from_millis(limits.window_ms),
        }
    }

    fn hold_place(&self, scope: &Scope) -> Result<HeldPlace, Refusal> {
        let now = Instant::now();
        let state = self.scopes.lock().entry(scope, now);
        let held = state.window.lock().hold(now, self.rule());
        match held {
            Ok(()) => Ok(HeldPlace {
                scope: state,
                begun: false,
            }),
            Err(wait) => {
                state.counters.count_rejected_rate();
                Err(Refusal::Rate {
                    scope: scope.name.clone(),
                    limit: self.config.limits.max_calls_per_window,
                    window_ms: self.config.limits.window_ms,
                    retry_after: whole_ms(wait.unwrap_or(self.config.queue_wait)),
                })
            }
        }
    }

    /// Waits in turn; `None` when the queue is full or the wait was too long.
    async fn wait_for_slot(&self) -> Option<OwnedSemaphorePermit> {
        let _turn = Turn::take(&self.waiting, self.config.max_waiting)?;
        let slot = Arc::clone(&self.slots).acquire_owned();
        tokio::time::timeout(self.config.queue_wait, slot)
            .await
            .ok()?
            .ok()
    }

    /// An estimate: those who wait go first, and each slot is free again after a typical run.
    fn concurrency_refusal(&self) -> Refusal {
        let limit = self.config.limits.max_concurrency;
        let ahead = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let typical = Duration::from_micros(self.typical_run_us.load(Ordering::Relaxed));
        let wait = typical.saturating_mul(ahead.saturating_add(1)) / limit.max(1);
        Refusal::Concurrency {
            limit,
            retry_after: whole_ms(wait.clamp(MIN_RETRY, MAX_RETRY)),
        }
    }
}

/// A place in a scope's window that is given back unless the call begins.
struct HeldPlace {
    scope: Arc<ScopeState>,
    begun: bool,
}

impl HeldPlace {
    fn begin(mut self) -> Arc<ScopeState> {
        self.scope.window.lock().begin(Instant::now());
        self.begun = true;
        self.scope.counters.count_allowed();
        Arc::clone(&self.scope)
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        if !self.begun {
            self.scope.window.lock().release();
        }
    }
}

/// A place in the queue.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            })
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct MemoryPermit {
    shared: Arc<Shared>,
    scope: Arc<ScopeState>,
    failed: bool,
    begun: Instant,
    slot: Option<OwnedSemaphorePermit>,
}

impl Permit for MemoryPermit {
    fn mark_failed(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.scope.counters.count_failed();
        }
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        drop(self.slot.take());
        metrics::gauge!(metric_names::GUARD_ACTIVE).decrement(1.0);
        let run = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let typical = self.shared.typical_run_us.load(Ordering::Relaxed);
        let average = (typical.saturating_mul(7).saturating_add(run)) / 8;
        self.shared.typical_run_us.store(average, Ordering::Relaxed);
    }
}

fn count_refusal(refusal: &Refusal) {
    let reason = match refusal {
        Refusal::Rate { .. } => "rate",
        Refusal::Concurrency { .. } => "concurrency",
    };
    metrics::counter!(metric_names::GUARD_REFUSALS, "reason" => reason).increment(1);
}

/// Rounded up, so that a client that waits as many milliseconds as it is told does not come too early.
fn whole_ms(wait: Duration) -> Duration {
    let ms = wait.as_nanos().div_ceil(1_000_000).max(1);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
