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
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::advice::{Advice, rate_retry};
use super::scopes::{BOUNDS, Counted, ScopeState, Scopes};
use super::slots::{Slot, Slots};
use super::window::WindowLimit;
use super::{ALL_SCOPES, Guard, GuardConfig, GuardMetrics, Permit, Refusal, Scope, Share};
use crate::metric_names;

#[derive(Debug)]
pub struct MemoryGuard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: GuardConfig,
    slots: Arc<Slots>,
    scopes: Mutex<Scopes>,
    advice: Advice,
}

impl MemoryGuard {
    pub fn new(config: GuardConfig) -> Self {
        let window = Duration::from_millis(config.limits.window_ms);
        Self {
            shared: Arc::new(Shared {
                config,
                slots: Slots::new(config.limits.max_concurrency, config.max_waiting),
                scopes: Mutex::new(Scopes::new(BOUNDS, window)),
                advice: Advice::default(),
            }),
        }
    }

    /// Counts an execution in that runs already.
    pub(super) fn occupy(&self, tenant: &TenantId) -> Slot {
        self.shared.slots.occupy(tenant)
    }

    /// As [`Guard::acquire`], where another guard counts what is refused.
    pub(super) async fn admit(&self, scope: &Scope, share: Share) -> Result<Box<dyn Permit>, Refusal> {
        let shared = &self.shared;
        let place = shared.hold_place(scope, share)?;
        let wait = shared.config.queue_wait;
        let slot = match shared.slots.take(&scope.tenant, share, wait).await {
            Ok(slot) => slot,
            Err(taken) => {
                place.counted.scope.counters.count_rejected_concurrency();
                return Err(shared.advice.refusal(taken));
            }
        };
        let scope = place.begin();
        metrics::gauge!(metric_names::GUARD_ACTIVE).increment(1.0);
        Ok(Box::new(MemoryPermit {
            shared: Arc::clone(&self.shared),
            scope,
            failed: false,
            begun: Instant::now(),
            revoked: CancellationToken::new(),
            _slot: slot,
        }))
    }
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn acquire(&self, scope: &Scope, share: Share) -> Result<Box<dyn Permit>, Refusal> {
        self.admit(scope, share).await.inspect_err(Refusal::count)
    }

    async fn metrics(&self, tenant: &TenantId, share: Share) -> GuardMetrics {
        GuardMetrics {
            active_executions: self.shared.slots.running(tenant),
            limits: self.shared.config.limits.of(share),
            scopes: self.shared.scopes.lock().metrics(tenant),
            only_this_replica: false,
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
            retry_after: rate_retry(wait, limit, &self.config),
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
    /// Never: what is in this process is not lost but with it.
    revoked: CancellationToken,
    /// Free again when the permit is dropped.
    _slot: Slot,
}

impl Permit for MemoryPermit {
    fn mark_failed(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.scope.counters.count_failed();
        }
    }

    fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        metrics::gauge!(metric_names::GUARD_ACTIVE).decrement(1.0);
        self.shared.advice.learn(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests;
