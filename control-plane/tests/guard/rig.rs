//! Guards, replicas that share one, and what tests ask of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::guard::{
    Guard, GuardConfig, GuardLimits, Lease, OnStoreLoss, Permit, RedisGuard, RedisGuardConfig, Refusal,
    Scope, ScopeMetrics, Share,
};
use dynamic_mcp_control_plane::redis::{Redis, RedisConfig};
use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;

/// Generous: it says that something comes at all.
pub const SOON: Duration = Duration::from_secs(20);

/// Of a tenant that may take all there is.
pub const ALL: Share = Share {
    max_concurrency: u32::MAX,
    max_calls_per_window: None,
    weight: 1,
};

/// Short, so that tests need not wait for long; in the proportions of the real one.
pub const LEASE: Lease = Lease {
    length: Duration::from_millis(3_000),
    renew_every: Duration::from_millis(600),
    margin: Duration::from_millis(900),
    sign: Duration::from_millis(1_000),
};

pub fn config(max_concurrency: u32) -> GuardConfig {
    GuardConfig {
        limits: GuardLimits {
            max_concurrency,
            max_calls_per_window: 100_000,
            window_ms: 60_000,
        },
        queue_wait: SOON,
        max_waiting: 100,
    }
}

pub fn closed(guard: GuardConfig) -> RedisGuardConfig {
    RedisGuardConfig {
        guard,
        on_loss: OnStoreLoss::Closed,
        lease: LEASE,
    }
}

pub fn local(guard: GuardConfig) -> RedisGuardConfig {
    RedisGuardConfig {
        on_loss: OnStoreLoss::Local,
        ..closed(guard)
    }
}

pub fn scope(tenant: &str, name: &str) -> Scope {
    Scope {
        tenant: tenant.parse().unwrap(),
        name: name.to_owned(),
    }
}

pub struct Replica {
    pub guard: Arc<RedisGuard>,
    pub redis: Redis,
    pub lifecycle: Lifecycle,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.lifecycle.begin_shutdown();
    }
}

pub fn redis_config(url: &str, prefix: &str) -> RedisConfig {
    RedisConfig {
        url: url.into(),
        is_cluster: url.contains(','),
        ca_file: None,
        prefix: prefix.to_owned(),
    }
}

pub async fn replica(url: &str, config: RedisGuardConfig) -> Replica {
    replica_of(&redis_config(url, "test"), config).await
}

pub async fn replica_of(redis: &RedisConfig, config: RedisGuardConfig) -> Replica {
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let redis = Redis::start(redis, Readiness::default()).await.unwrap();
    let guard = RedisGuard::start(config, redis.clone(), ReplicaId::generate(), &lifecycle);
    Replica {
        guard: Arc::new(guard),
        redis,
        lifecycle,
    }
}

impl Replica {
    pub async fn acquire(&self, tenant: &str) -> Result<Box<dyn Permit>, Refusal> {
        self.guard.acquire(&scope(tenant, "a"), ALL).await
    }

    pub async fn running(&self, tenant: &str) -> u32 {
        let metrics = self.guard.metrics(&tenant.parse().unwrap(), ALL).await;
        assert!(!metrics.only_this_replica, "Redis answers");
        metrics.active_executions
    }

    /// Of the keys of the guard.
    pub async fn members(&self, key: &str) -> u32 {
        let key = self
            .redis
            .keys()
            .guard_slots()
            .into_iter()
            .find(|name| name.ends_with(key));
        self.redis.query(redis::cmd("ZCARD").arg(key)).await.unwrap()
    }

    /// Calls of this replica or of others that wait.
    pub async fn until_waiting(&self, calls: u32) {
        eventually(async || self.members("waiting").await == calls).await;
    }
}

/// Of which a refusal was due.
pub fn refusal(answer: Result<Box<dyn Permit>, Refusal>) -> Refusal {
    match answer {
        Ok(_) => panic!("a permit where a refusal was due"),
        Err(refusal) => refusal,
    }
}

pub async fn counts(guard: &dyn Guard, tenant: &str, name: &str) -> ScopeMetrics {
    let metrics = guard.metrics(&tenant.parse().unwrap(), ALL).await;
    let found = metrics.scopes.into_iter().find(|scope| scope.scope == name);
    found.unwrap_or_default()
}

/// Answers how long it took.
pub async fn eventually(mut check: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < SOON, "it did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}
