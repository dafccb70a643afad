//! The guard of one process.
//!
//! ```text
//! place in the windows? ──no──▶ refused (rate)
//!        │ held
//! slot free? ──no──▶ queue full? ──yes──▶ refused (concurrency), the places are given back
//!        │                 └──no──▶ wait, in turn ──too long──▶ the same
//! the call begins: its places count from now
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::scopes::{Bounds, Counted, ScopeState, Scopes};
use super::slots::{Slot, Slots, Taken};
use super::window::WindowLimit;
use super::{Guard, GuardLimits, GuardMetrics, Permit, Refusal, Scope, Share, TenantGuardLimits};
use crate::metric_names;

const BOUNDS: Bounds = Bounds {
    scopes_per_tenant: 4_096,
    tenants: 10_000,
};
/// What a client is told to wait before a slot may be free lies between these.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How a refusal names what all scopes of a tenant share.
const ALL_SCOPES: &str = "all tools together";
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
    slots: Arc<Slots>,
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
                slots: Slots::new(config.limits.max_concurrency, config.max_waiting),
                scopes: Mutex::new(Scopes::new(BOUNDS, window)),
                typical_run_us: AtomicU64::new(FIRST_GUESS_US),
            }),
        }
    }
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn acquire(&self, scope: &Scope, share: Share) -> Result<Box<dyn Permit>, Refusal> {
        let shared = &self.shared;
        let place = shared.hold_place(scope, share).inspect_err(count_refusal)?;
        let wait = shared.config.queue_wait;
        let slot = match shared.slots.take(&scope.tenant, share, wait).await {
            Ok(slot) => slot,
            Err(taken) => {
                place.counted.scope.counters.count_rejected_concurrency();
                return Err(shared.concurrency_refusal(taken)).inspect_err(count_refusal);
            }
        };
        let scope = place.begin();
        metrics::gauge!(metric_names::GUARD_ACTIVE).increment(1.0);
        Ok(Box::new(MemoryPermit {
            shared: Arc::clone(&self.shared),
            scope,
            failed: false,
            begun: Instant::now(),
            _slot: slot,
        }))
    }

    async fn metrics(&self, tenant: &TenantId, share: Share) -> GuardMetrics {
        let limits = self.shared.config.limits;
        GuardMetrics {
            active_executions: self.shared.slots.running(tenant),
            limits: TenantGuardLimits {
                max_concurrency: limits.max_concurrency.min(share.max_concurrency),
                max_calls_per_window: limits.max_calls_per_window,
                max_tenant_calls_per_window: share.max_calls_per_window,
                window_ms: limits.window_ms,
            },
            scopes: self.shared.scopes.lock().metrics(tenant),
        }
    }
}

impl Shared {
    fn at_most(&self, limit: u32) -> WindowLimit {
        WindowLimit {
            limit,
            length: Duration::from_millis(self.config.limits.window_ms),
        }
    }

    fn hold_place(&self, scope: &Scope, share: Share) -> Result<HeldPlace, Refusal> {
        let now = Instant::now();
        let counted = self.scopes.lock().entry(scope, now);
        let limit = self.config.limits.max_calls_per_window;
        let held = counted.scope.window.lock().hold(now, self.at_most(limit));
        if let Err(wait) = held {
            return Err(self.rate_refusal(&counted.scope, &scope.name, limit, wait));
        }
        if let Some(limit) = share.max_calls_per_window {
            let held = counted.tenant.lock().hold(now, self.at_most(limit));
            if let Err(wait) = held {
                counted.scope.window.lock().release();
                return Err(self.rate_refusal(&counted.scope, ALL_SCOPES, limit, wait));
            }
        }
        Ok(HeldPlace {
            of_tenant: share.max_calls_per_window.is_some(),
            counted,
            begun: false,
        })
    }

    fn rate_refusal(&self, scope: &ScopeState, name: &str, limit: u32, wait: Option<Duration>) -> Refusal {
        scope.counters.count_rejected_rate();
        Refusal::Rate {
            scope: name.to_owned(),
            limit,
            window_ms: self.config.limits.window_ms,
            retry_after: whole_ms(wait.unwrap_or(self.config.queue_wait)),
        }
    }

    /// An estimate: those who wait go first, and each slot is free again after a typical run.
    fn concurrency_refusal(&self, taken: Taken) -> Refusal {
        let ahead = u32::try_from(taken.ahead).unwrap_or(u32::MAX);
        let typical = Duration::from_micros(self.typical_run_us.load(Ordering::Relaxed));
        let wait = typical.saturating_mul(ahead.saturating_add(1)) / taken.limit.max(1);
        let wait = if taken.limit == 0 { MAX_RETRY } else { wait };
        Refusal::Concurrency {
            limit: taken.limit,
            by_tenant: taken.by_tenant,
            retry_after: whole_ms(wait.clamp(MIN_RETRY, MAX_RETRY)),
        }
    }
}

/// A place in the windows that is given back unless the call begins.
struct HeldPlace {
    counted: Counted,
    /// In the tenant's window too.
    of_tenant: bool,
    begun: bool,
}

impl HeldPlace {
    fn begin(mut self) -> Arc<ScopeState> {
        let now = Instant::now();
        self.counted.scope.window.lock().begin(now);
        if self.of_tenant {
            self.counted.tenant.lock().begin(now);
        }
        self.begun = true;
        self.counted.scope.counters.count_allowed();
        Arc::clone(&self.counted.scope)
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        if self.begun {
            return;
        }
        self.counted.scope.window.lock().release();
        if self.of_tenant {
            self.counted.tenant.lock().release();
        }
    }
}

struct MemoryPermit {
    shared: Arc<Shared>,
    scope: Arc<ScopeState>,
    failed: bool,
    begun: Instant,
    /// Free again when the permit is dropped.
    _slot: Slot,
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
