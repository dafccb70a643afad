//! The guard of all replicas together: slots, queue, windows and counts are in Redis, and change in scripts that are whole
//! or not at all.
//!
//! ```text
//! refused a moment ago? ──yes──▶ refused (rate), Redis isn't asked
//!        │ no
//! take ──▶ granted: a lease, renewed with all of this replica's while the call runs, given back when it ends
//!   │         └─ can't be renewed: the call is ended before another may have its slot
//!   ├────▶ refused (rate, concurrency)
//!   └────▶ waits ──handed a slot, by whoever gave one back──▶ begins
//!             └─ too long, or gave way in a full queue ──▶ refused (concurrency)
//! ```
//!
//! Without Redis a call is refused, or each replica lets in its share ([`OnStoreLoss`]). What is in Redis is for
//! `redis/scripts`; this side holds what only a replica knows: which leases are its own, and who waits here.

mod alone;
mod held;
mod keeper;
mod listener;
mod permit;
mod refused;
mod returns;
mod store;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::{ReplicaId, TenantId};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::alone::Alone;
use self::held::Held;
use self::permit::RedisPermit;
use self::refused::Refused;
use self::returns::{Count, Return, Returns};
use self::store::{Ask, Store, StoreError, Take};
use self::waiters::{Told, Waiter, Waiters};
use super::advice::{Advice, rate_retry};
use super::scopes::{BOUNDS, ScopeState, Scopes};
use super::{ALL_SCOPES, Guard, GuardConfig, GuardMetrics, Permit, Refusal, SILENCE_ENDS_CODE, Scope, Share};
use crate::metric_names;
use crate::redis::Redis;

/// When it is worth trying again without a store.
const LOST_RETRY: Duration = Duration::from_secs(1);
/// How often a call is asked for anew that found the state emptied.
const MAX_ATTEMPTS: u32 = 5;

/// What is done with calls while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreLoss {
    /// They are refused.
    Closed,
    /// Each replica lets in its share of what is allowed.
    Local,
}

impl OnStoreLoss {
    pub const fn as_str(self) -> &'static str {
        match self {
            OnStoreLoss::Closed => "closed",
            OnStoreLoss::Local => "local",
        }
    }
}

/// How long a replica's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// A slot is another's when it was not renewed for so long.
    pub length: Duration,
    /// Renewed so often.
    pub renew_every: Duration,
    /// So long before its end a call that can't be renewed is ended. In that time the executor ends its code also where this
    /// replica can't tell it, and a renewal that was on its way was given up.
    pub margin: Duration,
    /// A call that waits, or that was handed a slot, is forgotten when its replica gave no sign for so long.
    pub sign: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(8),
            renew_every: Duration::from_secs(2),
            margin: SILENCE_ENDS_CODE + Duration::from_millis(500),
            sign: Duration::from_secs(2),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisGuardConfig {
    pub guard: GuardConfig,
    pub on_loss: OnStoreLoss,
    pub lease: Lease,
}

#[derive(Debug)]
pub struct RedisGuard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RedisGuardConfig,
    store: Store,
    held: Held,
    waiters: Waiters,
    returns: Returns,
    refused: Refused,
    alone: Alone,
    advice: Advice,
    /// What this replica counted, for when it can't ask what all did.
    scopes: Mutex<Scopes>,
    /// How many replicas lived when that was last known.
    replicas: AtomicU32,
    next_permit: AtomicU64,
    renewing: tokio::sync::Mutex<()>,
    /// Calls from before they ask until what they had is among the returns, and renewals, which may give back too.
    users: TaskTracker,
    /// The leases should be renewed now.
    renew_now: Notify,
    lifecycle: Lifecycle,
}

/// What came of asking for a slot.
enum Asked {
    Granted(RedisPermit),
    Waiting(Waiter),
    Refused(Refusal),
    /// The state in Redis is another than this replica knew.
    Again,
}

impl RedisGuard {
    /// Begins to renew and to listen; the lifecycle runs what does.
    pub fn start(config: RedisGuardConfig, redis: Redis, replica: ReplicaId, lifecycle: &Lifecycle) -> Self {
        let window = Duration::from_millis(config.guard.limits.window_ms);
        let shared = Arc::new(Shared {
            store: Store::new(redis.clone(), &replica, &config),
            held: Held::default(),
            waiters: Waiters::default(),
            returns: Returns::default(),
            refused: Refused::default(),
            alone: Alone::default(),
            advice: Advice::default(),
            scopes: Mutex::new(Scopes::new(BOUNDS, window)),
            replicas: AtomicU32::new(1),
            next_permit: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::default(),
            users: TaskTracker::new(),
            renew_now: Notify::new(),
            lifecycle: lifecycle.clone(),
            config,
        });
        lifecycle.spawn(keeper::keep(shared.clone(), redis.up()));
        lifecycle.spawn(listener::listen(shared.clone(), redis));
        lifecycle.spawn(returns::give_back(shared.clone()));
        Self { shared }
    }
}

#[async_trait]
impl Guard for RedisGuard {
    async fn acquire(&self, scope: &Scope, share: Share) -> Result<Box<dyn Permit>, Refusal> {
        let shared = &self.shared;
        if let Some(refusal) = shared.refused.look_up(scope, share, &shared.config.guard) {
            shared.counted(scope).counters.count_rejected_rate();
            refusal.count();
            return Err(refusal);
        }
        match shared.acquire(scope, share).await {
            Ok(permit) => Ok(Box::new(permit)),
            Err(refusal) => {
                let counted = shared.counted(scope);
                match refusal {
                    Refusal::Rate { .. } => counted.counters.count_rejected_rate(),
                    Refusal::Concurrency { .. } => counted.counters.count_rejected_concurrency(),
                    Refusal::StoreLost { .. } => {}
                }
                refusal.count();
                Err(refusal)
            }
        }
    }

    async fn metrics(&self, tenant: &TenantId, share: Share) -> GuardMetrics {
        let shared = &self.shared;
        let limits = shared.config.guard.limits.of(share);
        match shared.store.metrics(tenant).await {
            Ok((active_executions, scopes)) => GuardMetrics {
                active_executions,
                limits,
                scopes,
                only_this_replica: false,
            },
            Err(_) => GuardMetrics {
                active_executions: shared.held.running(tenant),
                limits,
                scopes: shared.scopes.lock().metrics(tenant),
                only_this_replica: true,
            },
        }
    }
}

impl Shared {
    async fn acquire(self: &Arc<Self>, scope: &Scope, share: Share) -> Result<RedisPermit, Refusal> {
        let _user = self.users.token();
        // Counted first and looked at second: the tasks do it the other way round, so that one of both sees the other.
        if self.lifecycle.soft().is_cancelled() {
            return Err(Refusal::StoreLost {
                retry_after: LOST_RETRY,
            });
        }
        let until = Instant::now() + self.config.guard.queue_wait;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(guard) = self.alone.guard() {
                return self.acquire_alone(&guard, scope, share).await;
            }
            let asked = match self.ask(scope, share, until).await {
                Ok(Asked::Granted(permit)) => return Ok(permit),
                Ok(Asked::Refused(refusal)) => return Err(refusal),
                Ok(Asked::Again) => continue,
                Ok(Asked::Waiting(waiter)) => self.wait(waiter, until).await,
                Err(lost) => Err(lost),
            };
            match asked {
                Ok(Asked::Granted(permit)) => return Ok(permit),
                Ok(Asked::Refused(refusal)) => return Err(refusal),
                Ok(Asked::Waiting(_) | Asked::Again) => {}
                Err(error) => self.lost(&error)?,
            }
        }
        Err(Refusal::StoreLost {
            retry_after: LOST_RETRY,
        })
    }

    /// Goes on when there is something to do without the store.
    fn lost(&self, error: &StoreError) -> Result<(), Refusal> {
        tracing::debug!(%error, "the guard's store did not answer");
        self.renew_now.notify_one();
        match self.config.on_loss {
            OnStoreLoss::Closed => Err(Refusal::StoreLost {
                retry_after: LOST_RETRY,
            }),
            OnStoreLoss::Local => {
                self.go_alone();
                Ok(())
            }
        }
    }

    /// In a task of its own: a caller that gives up meanwhile must not leave behind a slot that nobody knows of.
    async fn ask(self: &Arc<Self>, scope: &Scope, share: Share, until: Instant) -> Result<Asked, StoreError> {
        let shared = self.clone();
        let (scope, wait) = (scope.clone(), until.saturating_duration_since(Instant::now()));
        let user = self.users.token();
        let asking = self.lifecycle.spawn(async move {
            let _user = user;
            shared.take(scope, share, wait).await
        });
        asking.await.unwrap_or(Err(StoreError::Abandoned))
    }

    async fn take(self: Arc<Self>, scope: Scope, share: Share, wait: Duration) -> Result<Asked, StoreError> {
        let asked_at = Instant::now();
        let ask = Ask {
            scope: &scope,
            share,
            number: self.next_number(),
            wait,
        };
        let taken = self.store.take(&ask).await;
        if taken.as_ref().is_err_and(StoreError::is_loss) {
            // Redis may have given it a slot all the same, of which nobody heard.
            self.returns.push(Return::new(
                self.store.ticket(&scope.tenant, ask.number),
                scope.clone(),
                Count::Nothing,
            ));
        }
        Ok(match taken? {
            Take::Granted { ticket } => self.begun(ticket, scope, asked_at),
            Take::Waiting { ticket, taken } => Asked::Waiting(Waiter::new(self, ticket, scope, share, taken)),
            Take::Busy(taken) => Asked::Refused(self.advice.refusal(taken)),
            Take::Rate {
                of_tenant,
                wait,
                never_sooner,
            } => Asked::Refused(self.rate_refusal(&scope, share, of_tenant, wait, never_sooner)),
            Take::Epoch => {
                // What this replica holds is counted in before it asks for more.
                self.renew().await?;
                Asked::Again
            }
        })
    }

    async fn wait(self: &Arc<Self>, mut waiter: Waiter, until: Instant) -> Result<Asked, StoreError> {
        match tokio::time::timeout_at(until, waiter.told()).await {
            Ok(Told::Granted) => {
                let shared = self.clone();
                let claiming = self.lifecycle.spawn(async move { shared.claim(waiter).await });
                claiming.await.unwrap_or(Err(StoreError::Abandoned))
            }
            Ok(Told::Anew) => Ok(Asked::Again),
            Ok(Told::Lost) => Err(StoreError::Unheard),
            Ok(Told::GaveWay) | Err(_) => Ok(Asked::Refused(self.advice.refusal(waiter.refused()))),
        }
    }

    async fn claim(self: Arc<Self>, waiter: Waiter) -> Result<Asked, StoreError> {
        let _user = self.users.token();
        let asked_at = Instant::now();
        if !self
            .store
            .begin(waiter.ticket(), waiter.scope(), waiter.share())
            .await?
        {
            return Ok(Asked::Refused(self.advice.refusal(waiter.refused())));
        }
        let (ticket, scope) = waiter.begun();
        Ok(self.begun(ticket, scope, asked_at))
    }

    fn begun(self: &Arc<Self>, ticket: String, scope: Scope, asked_at: Instant) -> Asked {
        // Counted from when it was asked for, which is before Redis began to count.
        let until = asked_at + self.lease_of_call();
        let revoked = self.held.add(&ticket, &scope.tenant, until);
        let permit = RedisPermit::new(self.clone(), ticket, scope, revoked, None);
        if until <= Instant::now() {
            // The answer lay here while this process was held still, and the slot may be another's: it is given back.
            return Asked::Again;
        }
        self.counted(&permit.scope).counters.count_allowed();
        Asked::Granted(permit)
    }

    fn rate_refusal(
        &self,
        scope: &Scope,
        share: Share,
        of_tenant: bool,
        wait: Option<Duration>,
        never_sooner: bool,
    ) -> Refusal {
        let limits = self.config.guard.limits;
        let (name, limit) = match share.max_calls_per_window {
            Some(limit) if of_tenant => (ALL_SCOPES, limit),
            _ => (scope.name.as_str(), limits.max_calls_per_window),
        };
        if let Some(wait) = wait.filter(|_| never_sooner) {
            self.refused.remember(scope, of_tenant, limit, wait);
        }
        Refusal::Rate {
            scope: name.to_owned(),
            limit,
            window_ms: limits.window_ms,
            retry_after: rate_retry(wait, limit, &self.config.guard),
        }
    }

    fn counted(&self, scope: &Scope) -> Arc<ScopeState> {
        self.scopes.lock().entry(scope, Instant::now()).scope
    }

    /// How long a call may run on what was asked for, unless that is renewed.
    fn lease_of_call(&self) -> Duration {
        self.config.lease.length.saturating_sub(self.config.lease.margin)
    }

    fn next_number(&self) -> u64 {
        self.next_permit.fetch_add(1, Ordering::Relaxed)
    }

    fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed).max(1)
    }

    fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
        metrics::gauge!(metric_names::GUARD_REPLICAS).set(f64::from(replicas));
    }
}
