//! The scopes in use, by tenant, in a bounded table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::window::Window;
use super::{Scope, ScopeMetrics};

/// What the scopes are counted under that found their tenant's table full of busy ones.
const OVERFLOW_SCOPE: &str = "other";
/// A full table is searched for idle entries at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

pub(super) const BOUNDS: Bounds = Bounds {
    scopes_per_tenant: 4_096,
    tenants: 10_000,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many scopes of one tenant are told apart.
    pub(super) scopes_per_tenant: usize,
    /// From how many tenants on the idle ones are forgotten.
    pub(super) tenants: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    total: AtomicU64,
    allowed: AtomicU64,
    rejected_rate: AtomicU64,
    rejected_concurrency: AtomicU64,
    failed: AtomicU64,
}

/// Held by the calls that wait or run, too, and not dropped from the table while it is.
#[derive(Debug, Default)]
pub(super) struct ScopeState {
    pub(super) window: Mutex<Window>,
    pub(super) counters: Counters,
}

#[derive(Debug)]
pub(super) struct Scopes {
    bounds: Bounds,
    window: Duration,
    tenants: HashMap<TenantId, Tenant>,
    swept_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Tenant {
    scopes: HashMap<String, Slot>,
    /// Of all scopes together.
    window: Arc<Mutex<Window>>,
    swept_at: Option<Instant>,
}

/// Where a call is counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) scope: Arc<ScopeState>,
    /// Of all the tenant's scopes together.
    pub(super) tenant: Arc<Mutex<Window>>,
}

#[derive(Debug)]
struct Slot {
    state: Arc<ScopeState>,
    used_at: Instant,
}

impl Counters {
    pub(super) fn count_allowed(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rejected_rate(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.rejected_rate.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rejected_concurrency(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.rejected_concurrency.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot(&self, scope: &str) -> ScopeMetrics {
        ScopeMetrics {
            scope: scope.to_owned(),
            total: self.total.load(Ordering::Relaxed),
            allowed: self.allowed.load(Ordering::Relaxed),
            rejected_rate: self.rejected_rate.load(Ordering::Relaxed),
            rejected_concurrency: self.rejected_concurrency.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl Scopes {
    pub(super) fn new(bounds: Bounds, window: Duration) -> Self {
        Self {
            bounds,
            window,
            tenants: HashMap::new(),
            swept_at: None,
        }
    }

    /// The state of a scope, made when it is new. With a table full of busy scopes further names share one state, so
    /// that inventing names neither fills the memory nor escapes the limit.
    pub(super) fn entry(&mut self, scope: &Scope, now: Instant) -> Counted {
        let (most, window) = (self.bounds.scopes_per_tenant, self.window);
        let tenant = if self.tenants.contains_key(&scope.tenant) {
            self.tenants.entry(scope.tenant.clone()).or_default()
        } else {
            self.add_tenant(scope.tenant.clone(), now)
        };
        Counted {
            scope: tenant.entry(&scope.name, most, now, window),
            tenant: Arc::clone(&tenant.window),
        }
    }

    /// By name. Empty for a tenant that made no call.
    pub(super) fn metrics(&self, tenant: &TenantId) -> Vec<ScopeMetrics> {
        let Some(tenant) = self.tenants.get(tenant) else {
            return Vec::new();
        };
        let mut metrics: Vec<_> = tenant
            .scopes
            .iter()
            .map(|(name, slot)| slot.state.counters.snapshot(name))
            .collect();
        metrics.sort_unstable_by(|a, b| a.scope.cmp(&b.scope));
        metrics
    }

    /// A tenant is an identity that was checked, so nobody makes them up: a new one gets its table even when no other
    /// can be forgotten.
    fn add_tenant(&mut self, tenant: TenantId, now: Instant) -> &mut Tenant {
        if self.tenants.len() >= self.bounds.tenants && is_due(&mut self.swept_at, now) {
            let window = self.window;
            self.tenants.retain(|_, tenant| !tenant.is_idle(now, window));
        }
        self.tenants.entry(tenant).or_default()
    }
}

impl Tenant {
    fn entry(&mut self, name: &str, most: usize, now: Instant, window: Duration) -> Arc<ScopeState> {
        if let Some(slot) = self.scopes.get_mut(name) {
            slot.used_at = now;
            return Arc::clone(&slot.state);
        }
        if self.scopes.len() >= most && is_due(&mut self.swept_at, now) {
            self.drop_idle(now, window);
        }
        let name = if self.scopes.len() < most {
            name
        } else {
            OVERFLOW_SCOPE
        };
        let slot = self.scopes.entry(name.to_owned()).or_insert_with(|| Slot {
            state: Arc::default(),
            used_at: now,
        });
        slot.used_at = now;
        Arc::clone(&slot.state)
    }

    fn is_idle(&self, now: Instant, window: Duration) -> bool {
        let together = Arc::strong_count(&self.window) == 1 && self.window.lock().is_idle(now, window);
        together && self.scopes.values().all(|slot| slot.is_idle(now, window))
    }

    /// Drops the half of the idle scopes that was used least recently, so that the search is paid for seldom.
    fn drop_idle(&mut self, now: Instant, window: Duration) {
        let idle = self.scopes.values().filter(|slot| slot.is_idle(now, window));
        let mut used: Vec<Instant> = idle.map(|slot| slot.used_at).collect();
        if used.is_empty() {
            return;
        }
        let middle = used.len() / 2;
        let newest_to_drop = *used.select_nth_unstable(middle).1;
        self.scopes
            .retain(|_, slot| slot.used_at > newest_to_drop || !slot.is_idle(now, window));
    }
}

impl Slot {
    fn is_idle(&self, now: Instant, window: Duration) -> bool {
        Arc::strong_count(&self.state) == 1 && self.state.window.lock().is_idle(now, window)
    }
}

fn is_due(swept_at: &mut Option<Instant>, now: Instant) -> bool {
    let due = swept_at.is_none_or(|at| now.duration_since(at) >= SWEEP_INTERVAL);
    if due {
        *swept_at = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::super::window::WindowLimit;
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn scopes() -> Scopes {
        Scopes::new(
            Bounds {
                scopes_per_tenant: 4,
                tenants: 2,
            },
            WINDOW,
        )
    }

    fn scope(tenant: &str, name: &str) -> Scope {
        Scope {
            tenant: tenant.parse().unwrap(),
            name: name.to_owned(),
        }
    }

    fn call(scopes: &mut Scopes, scope: &Scope, now: Instant) {
        let state = scopes.entry(scope, now).scope;
        let mut window = state.window.lock();
        window
            .hold(
                now,
                WindowLimit {
                    limit: 1_000,
                    length: WINDOW,
                },
            )
            .unwrap();
        window.begin(now);
        state.counters.count_allowed();
    }

    fn names(scopes: &Scopes, tenant: &str) -> Vec<String> {
        scopes
            .metrics(&tenant.parse().unwrap())
            .into_iter()
            .map(|metrics| metrics.scope)
            .collect()
    }

    #[test]
    fn names_beyond_the_bound_share_one_scope_while_all_are_busy() {
        let mut scopes = scopes();
        let now = Instant::now();
        for index in 0..100 {
            call(&mut scopes, &scope("a", &format!("s{index}")), now);
        }
        assert_eq!(names(&scopes, "a"), ["other", "s0", "s1", "s2", "s3"]);
        let other = scopes.metrics(&"a".parse().unwrap()).remove(0);
        assert_eq!(other.total, 96);
    }

    #[test]
    fn the_idle_scopes_used_least_recently_make_room() {
        let mut scopes = scopes();
        let start = Instant::now();
        for index in 0..4_u32 {
            call(
                &mut scopes,
                &scope("a", &format!("s{index}")),
                start + Duration::from_secs(index.into()),
            );
        }
        call(&mut scopes, &scope("a", "new"), start + WINDOW * 2);
        assert_eq!(names(&scopes, "a"), ["new", "s3"]);
    }

    #[test]
    fn a_scope_with_a_running_call_is_kept() {
        let mut scopes = scopes();
        let start = Instant::now();
        let running = scopes.entry(&scope("a", "running"), start).scope;
        for index in 0..20_u32 {
            call(
                &mut scopes,
                &scope("a", &format!("s{index}")),
                start + WINDOW * 2 * index,
            );
        }
        running.counters.count_failed();
        let kept = scopes.metrics(&"a".parse().unwrap());
        assert!(
            kept.iter()
                .any(|metrics| metrics.scope == "running" && metrics.failed == 1)
        );
        assert!(kept.len() <= 5);
    }

    #[test]
    fn idle_tenants_are_forgotten_when_there_are_many() {
        let mut scopes = scopes();
        let start = Instant::now();
        call(&mut scopes, &scope("a", "s"), start);
        call(&mut scopes, &scope("b", "s"), start + WINDOW);
        call(&mut scopes, &scope("c", "s"), start + WINDOW + SWEEP_INTERVAL);
        assert!(names(&scopes, "a").is_empty());
        assert_eq!(names(&scopes, "b"), ["s"]);
    }
}
