//! The scripts, called with what they take and answering in our own types. What each does stands at the top of its file.

use std::time::Duration;

use dynamic_mcp_shared::ids::{ReplicaId, TenantId};
use parking_lot::RwLock;
use redis::{Script, ScriptInvocation};

use super::super::scopes::BOUNDS;
use super::super::slots::Taken;
use super::super::{GuardConfig, Scope, ScopeMetrics, Share};
use super::returns::Return;
use super::{Lease, RedisGuardConfig};
use crate::redis::{Keys, Redis, RedisError};

/// For how long state outlives its last use: leases are renewed every few seconds.
const STATE_TTL: Duration = Duration::from_secs(3_600);
/// For how long counts outlive the last use of any of the tenant's tools.
const COUNTS_TTL: Duration = Duration::from_secs(86_400);

macro_rules! script {
    ($($part:literal),+) => {
        Script::new(concat!($(include_str!(concat!("scripts/", $part, ".lua")), "\n"),+))
    };
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{script}: {source}")]
    Redis {
        script: &'static str,
        source: RedisError,
    },
    #[error("{0}: an answer of another form than expected")]
    Answer(&'static str),
    #[error("nothing was heard of a call that waits")]
    Unheard,
    #[error("the task that asked has gone")]
    Abandoned,
}

impl StoreError {
    pub(super) fn is_loss(&self) -> bool {
        matches!(self, StoreError::Redis { source, .. } if source.is_loss())
    }
}

#[derive(Debug)]
pub(super) struct Store {
    redis: Redis,
    replica: ReplicaId,
    guard: GuardConfig,
    lease: Lease,
    slots: [String; 5],
    /// Which life of the state in Redis this replica's leases are in.
    epoch: RwLock<String>,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    take: Script,
    begin: Script,
    give_back: Script,
    poll: Script,
    renew: Script,
    count: Script,
    metrics: Script,
}

/// A call that wants a slot.
pub(super) struct Ask<'a> {
    pub(super) scope: &'a Scope,
    pub(super) share: Share,
    /// Never used before by this replica.
    pub(super) number: u64,
    /// How long it may wait.
    pub(super) wait: Duration,
}

pub(super) enum Take {
    Granted {
        ticket: String,
    },
    Waiting {
        ticket: String,
        taken: Taken,
    },
    Busy(Taken),
    Rate {
        of_tenant: bool,
        /// `None`: that depends on calls that wait.
        wait: Option<Duration>,
        never_sooner: bool,
    },
    /// The state is another than this replica knew, and nothing was done.
    Epoch,
}

/// What became of one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polled {
    Granted,
    Waits,
    Gone,
}

pub(super) struct Renewed {
    /// Which life of the state it is. In another than this replica knew all was counted in.
    pub(super) epoch: String,
    pub(super) replicas: u32,
    /// The tickets that are not this replica's any more.
    pub(super) gone: Vec<String>,
}

impl Store {
    pub(super) fn new(redis: Redis, replica: &ReplicaId, config: &RedisGuardConfig) -> Self {
        Self {
            slots: redis.keys().guard_slots(),
            redis,
            replica: replica.clone(),
            guard: config.guard,
            lease: config.lease,
            epoch: RwLock::default(),
            scripts: Scripts {
                take: script!("slots", "windows", "counts", "take"),
                begin: script!("slots", "windows", "counts", "begin"),
                give_back: script!("slots", "counts", "give_back"),
                poll: script!("slots", "poll"),
                renew: script!("slots", "renew"),
                count: script!("slots", "counts", "count"),
                metrics: script!("slots", "metrics"),
            },
        }
    }

    pub(super) fn channel(&self) -> String {
        format!("{}{}", self.keys().guard_channel(), self.replica)
    }

    pub(super) async fn take(&self, ask: &Ask<'_>) -> Result<Take, StoreError> {
        let (scope, share) = (ask.scope, ask.share);
        let mut call = self.call(&self.scripts.take);
        self.add_windows(&mut call, scope);
        call.arg(scope.tenant.as_str())
            .arg(self.permit(ask.number))
            .arg(&scope.name)
            .arg(share.max_concurrency)
            .arg(share.weight)
            .arg(millis(self.lease.length))
            .arg(millis(ask.wait))
            .arg(self.guard.max_waiting)
            .arg(self.window_us())
            .arg(self.guard.limits.max_calls_per_window)
            .arg(share.max_calls_per_window.map_or(-1, i64::from));
        add_count_bounds(&mut call);
        let answer: Vec<String> = self.invoke("take", &call).await?;
        read_take(&answer).ok_or(StoreError::Answer("take"))
    }

    /// Claims what was handed to a call that waited. Answers whether it may begin.
    pub(super) async fn begin(&self, ticket: &str, scope: &Scope, share: Share) -> Result<bool, StoreError> {
        let mut call = self.call(&self.scripts.begin);
        self.add_windows(&mut call, scope);
        call.arg(ticket)
            .arg(&scope.name)
            .arg(millis(self.lease.length))
            .arg(self.window_us());
        add_count_bounds(&mut call);
        call.arg(u8::from(share.max_calls_per_window.is_some()));
        let begins: u8 = self.invoke("begin", &call).await?;
        Ok(begins == 1)
    }

    pub(super) async fn give_back(&self, returns: &[Return]) -> Result<(), StoreError> {
        let mut call = self.call(&self.scripts.give_back);
        for back in returns {
            let scope = &back.scope;
            let [_, held] = self.keys().guard_window(&scope.tenant, Some(&scope.name));
            let [_, tenant_held] = self.keys().guard_window(&scope.tenant, None);
            call.key(held).key(tenant_held);
            self.add_counts(&mut call, &scope.tenant);
        }
        add_count_bounds(&mut call);
        for back in returns {
            call.arg(&back.ticket)
                .arg(&back.scope.name)
                .arg(back.count.as_str());
        }
        self.invoke::<u32>("give_back", &call).await.map(drop)
    }

    /// `None`: the state is another than this replica knew, and what waited is forgotten.
    pub(super) async fn poll(&self, tickets: &[String]) -> Result<Option<Vec<Polled>>, StoreError> {
        let mut call = self.call(&self.scripts.poll);
        for ticket in tickets {
            call.arg(ticket);
        }
        let answer: Vec<String> = self.invoke("poll", &call).await?;
        let (epoch, states) = answer.split_first().ok_or(StoreError::Answer("poll"))?;
        if *epoch != *self.epoch.read() {
            return Ok(None);
        }
        let states = states.iter().map(|state| match state.as_str() {
            "2" => Polled::Granted,
            "1" => Polled::Waits,
            _ => Polled::Gone,
        });
        Ok(Some(states.collect()))
    }

    /// `leases`: tickets, each with whether it is to be counted in though it is not there.
    pub(super) async fn renew(&self, leases: &[(String, bool)]) -> Result<Renewed, StoreError> {
        let mut call = self.call(&self.scripts.renew);
        call.key(self.keys().guard_replicas())
            .arg(self.replica.as_str())
            .arg(millis(self.lease.length));
        for (ticket, anyway) in leases {
            call.arg(ticket).arg(u8::from(*anyway));
        }
        let mut answer: Vec<String> = self.invoke("renew", &call).await?;
        if answer.len() < 2 {
            return Err(StoreError::Answer("renew"));
        }
        let gone = answer.split_off(2);
        let replicas = answer[1].parse().map_err(|_| StoreError::Answer("renew"))?;
        Ok(Renewed {
            epoch: answer.swap_remove(0),
            replicas,
            gone,
        })
    }

    /// From now on leases are of that life of the state. Answers whether they were of another one: nobody waits in this one.
    pub(super) fn know(&self, epoch: String) -> bool {
        let before = std::mem::replace(&mut *self.epoch.write(), epoch.clone());
        !before.is_empty() && before != epoch
    }

    /// This replica lives no more.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("ZREM");
        command
            .arg(self.keys().guard_replicas())
            .arg(self.replica.as_str());
        let left = self.redis.query::<u8>(&command).await.map(drop);
        left.map_err(|source| StoreError::Redis {
            script: "leave",
            source,
        })
    }

    /// Of an execution that was let in without asking.
    pub(super) fn ticket(&self, tenant: &TenantId, number: u64) -> String {
        format!("{tenant} {:016} {}", 0, self.permit(number))
    }

    fn permit(&self, number: u64) -> String {
        format!("{}.{number}", self.replica)
    }

    /// What this replica refused without asking: how many calls of each scope, for their rate.
    pub(super) async fn count(&self, refused: &[(Scope, u64)]) -> Result<(), StoreError> {
        let mut call = self.call(&self.scripts.count);
        for (scope, _) in refused {
            self.add_counts(&mut call, &scope.tenant);
        }
        add_count_bounds(&mut call);
        for (scope, many) in refused {
            call.arg(&scope.name).arg("r").arg(many);
        }
        self.invoke::<u8>("count", &call).await.map(drop)
    }

    /// How many of a tenant's executions run, and the counts of its scopes, by name.
    pub(super) async fn metrics(&self, tenant: &TenantId) -> Result<(u32, Vec<ScopeMetrics>), StoreError> {
        let mut call = self.call(&self.scripts.metrics);
        let [counts, _] = self.keys().guard_counts(tenant);
        call.key(counts).arg(tenant.as_str());
        let answer: Vec<String> = self.invoke("metrics", &call).await?;
        read_metrics(&answer).ok_or(StoreError::Answer("metrics"))
    }

    fn keys(&self) -> &Keys {
        self.redis.keys()
    }

    /// With the keys and arguments that all scripts share.
    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(&self.slots[..])
            .arg(self.epoch.read().as_str())
            .arg(self.guard.limits.max_concurrency)
            .arg(millis(self.lease.sign))
            .arg(self.keys().guard_channel())
            .arg(millis(STATE_TTL));
        call
    }

    fn add_windows(&self, call: &mut ScriptInvocation<'_>, scope: &Scope) {
        let keys = self.keys();
        let of_scope = keys.guard_window(&scope.tenant, Some(&scope.name));
        let of_tenant = keys.guard_window(&scope.tenant, None);
        call.key(&of_scope[..]).key(&of_tenant[..]);
        self.add_counts(call, &scope.tenant);
    }

    fn add_counts(&self, call: &mut ScriptInvocation<'_>, tenant: &TenantId) {
        call.key(&self.keys().guard_counts(tenant)[..]);
    }

    fn window_us(&self) -> u64 {
        self.guard.limits.window_ms.saturating_mul(1_000)
    }

    async fn invoke<T: redis::FromRedisValue>(
        &self,
        script: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let answer = self.redis.invoke(call).await;
        answer.map_err(|source| StoreError::Redis { script, source })
    }
}

fn add_count_bounds(call: &mut ScriptInvocation<'_>) {
    call.arg(BOUNDS.scopes_per_tenant).arg(millis(COUNTS_TTL));
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read_take(answer: &[String]) -> Option<Take> {
    let parts: Vec<&str> = answer.iter().map(String::as_str).collect();
    Some(match *parts.as_slice() {
        ["granted", ticket] => Take::Granted {
            ticket: ticket.to_owned(),
        },
        ["waiting", ticket, by_tenant, limit, ahead] => Take::Waiting {
            ticket: ticket.to_owned(),
            taken: read_taken(by_tenant, limit, ahead)?,
        },
        ["busy", by_tenant, limit, ahead] => Take::Busy(read_taken(by_tenant, limit, ahead)?),
        ["rate", of_tenant, wait, never_sooner] => Take::Rate {
            of_tenant: of_tenant == "1",
            // Negative for what is not known.
            wait: wait.parse().ok().map(Duration::from_millis),
            never_sooner: never_sooner == "1",
        },
        ["epoch", _] => Take::Epoch,
        _ => return None,
    })
}

fn read_taken(by_tenant: &str, limit: &str, ahead: &str) -> Option<Taken> {
    Some(Taken {
        limit: limit.parse().ok()?,
        by_tenant: by_tenant == "1",
        ahead: ahead.parse().ok()?,
    })
}

fn read_metrics(answer: &[String]) -> Option<(u32, Vec<ScopeMetrics>)> {
    let (running, counts) = answer.split_first()?;
    let mut scopes = std::collections::BTreeMap::<&str, ScopeMetrics>::new();
    for pair in counts.chunks_exact(2) {
        let (what, scope) = pair[0].split_once(' ')?;
        let many: u64 = pair[1].parse().ok()?;
        let metrics = scopes.entry(scope).or_insert_with(|| ScopeMetrics {
            scope: scope.to_owned(),
            ..ScopeMetrics::default()
        });
        match what {
            "a" => metrics.allowed = many,
            "r" => metrics.rejected_rate = many,
            "c" => metrics.rejected_concurrency = many,
            _ => metrics.failed = many,
        }
        metrics.total = metrics.allowed + metrics.rejected_rate + metrics.rejected_concurrency;
    }
    Some((running.parse().ok()?, scopes.into_values().collect()))
}
