//! How many calls run at once, and how many may begin in a window of time.

mod advice;
mod fairness;
mod memory;
mod redis;
mod scopes;
mod slots;
mod window;

use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::TenantId;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::metric_names;
use crate::tenant::TenantLimits;

pub use self::memory::MemoryGuard;
pub use self::redis::{Lease, OnStoreLoss, RedisGuard, RedisGuardConfig};

/// Within so long an executor that hears nothing of this process has ended the code that it ran for it: it waits for a ping
/// in vain, and kills.
pub const SILENCE_ENDS_CODE: Duration = Duration::from_millis(3_500);

/// How a refusal names what all scopes of a tenant share.
const ALL_SCOPES: &str = "all tools together";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardConfig {
    pub limits: GuardLimits,
    /// How long a call may wait for a slot; zero refuses at once.
    pub queue_wait: Duration,
    /// How many calls may wait at the same time.
    pub max_waiting: usize,
}

/// What is counted apart: `dynamic.exec.<tool>` for a call of a tool, `run_js_ephemeral` for an ephemeral run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub tenant: TenantId,
    pub name: String,
}

/// What of all there is a tenant may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub max_concurrency: u32,
    /// Of all its scopes together. `None`: only each scope is limited.
    pub max_calls_per_window: Option<u32>,
    /// How many of the slots that all want go to it, against the weight of others.
    pub weight: u32,
}

impl From<&TenantLimits> for Share {
    fn from(limits: &TenantLimits) -> Self {
        Self {
            max_concurrency: limits.max_concurrency,
            max_calls_per_window: limits.max_calls_per_window,
            weight: limits.weight,
        }
    }
}

#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// A permit for one execution, after a short wait if all are taken. It is given back when it is dropped.
    async fn acquire(&self, scope: &Scope, share: Share) -> Result<Box<dyn Permit>, Refusal>;

    /// A tenant's executions that run now, its limits, and the counts of its scopes, by name. Of other tenants nothing shows.
    async fn metrics(&self, tenant: &TenantId, share: Share) -> GuardMetrics;
}

pub trait Permit: Send + Sync {
    /// Counts the execution among the failed ones of its scope.
    fn mark_failed(&mut self);

    /// Cancelled when the execution must end, since its slot is about to be another's.
    fn revoked(&self) -> &CancellationToken;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "rate limit: {limit} calls of {scope} in {window_ms} ms are used up; try again in {} ms",
        retry_after.as_millis()
    )]
    Rate {
        scope: String,
        limit: u32,
        window_ms: u64,
        retry_after: Duration,
    },
    #[error("{}; try again in {} ms", taken(*limit, *by_tenant), retry_after.as_millis())]
    Concurrency {
        limit: u32,
        /// They are the tenant's share, and not all there are.
        by_tenant: bool,
        retry_after: Duration,
    },
    #[error(
        "the limits can't be checked, since the store that replicas share is away; try again in {} ms",
        retry_after.as_millis()
    )]
    StoreLost { retry_after: Duration },
}

fn taken(limit: u32, by_tenant: bool) -> String {
    match (limit, by_tenant) {
        (0, true) => "the operator has stopped this tenant (maxConcurrency is 0)".to_owned(),
        (limit, true) => format!("all {limit} execution slots of this tenant are taken"),
        (limit, false) => format!("all {limit} execution slots are taken"),
    }
}

impl Refusal {
    pub fn retry_after(&self) -> Duration {
        match self {
            Refusal::Rate { retry_after, .. }
            | Refusal::Concurrency { retry_after, .. }
            | Refusal::StoreLost { retry_after } => *retry_after,
        }
    }

    fn count(&self) {
        let reason = match self {
            Refusal::Rate { .. } => "rate",
            Refusal::Concurrency { .. } => "concurrency",
            Refusal::StoreLost { .. } => "store_lost",
        };
        metrics::counter!(metric_names::GUARD_REFUSALS, "reason" => reason).increment(1);
    }
}

/// What is allowed whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    pub max_concurrency: u32,
    /// Of one scope.
    pub max_calls_per_window: u32,
    pub window_ms: u64,
}

impl GuardLimits {
    fn of(self, share: Share) -> TenantGuardLimits {
        TenantGuardLimits {
            max_concurrency: self.max_concurrency.min(share.max_concurrency),
            max_calls_per_window: self.max_calls_per_window,
            max_tenant_calls_per_window: share.max_calls_per_window,
            window_ms: self.window_ms,
        }
    }
}

/// What is allowed a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantGuardLimits {
    pub max_concurrency: u32,
    /// Of one scope.
    pub max_calls_per_window: u32,
    /// Of all its scopes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tenant_calls_per_window: Option<u32>,
    pub window_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardMetrics {
    pub active_executions: u32,
    pub limits: TenantGuardLimits,
    pub scopes: Vec<ScopeMetrics>,
    /// The store that replicas share is away, so that these are the counts of one replica.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_this_replica: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeMetrics {
    pub scope: String,
    pub total: u64,
    pub allowed: u64,
    pub rejected_rate: u64,
    pub rejected_concurrency: u64,
    pub failed: u64,
}
