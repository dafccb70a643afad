//! Keeps `/readyz` and the gauges true: what is degraded, and since when it is not any more.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;

use crate::metric_names;
use crate::registry::Registry;
use crate::registry::cache::ToolCache;
use crate::scheduler::fleet::{Fleet, FleetHealth};

const FLEET_INTERVAL: Duration = Duration::from_millis(250);
const REGISTRY_INTERVAL: Duration = Duration::from_secs(2);
/// While it does not answer.
const REGISTRY_RETRY: Duration = Duration::from_millis(250);
const FIRST_LOAD_PAUSE: Duration = Duration::from_millis(500);

/// Watches until the lifecycle ends. The replica is ready from the first load of tools on.
pub(super) fn start(
    lifecycle: &Lifecycle,
    readiness: &Readiness,
    registry: Arc<dyn Registry>,
    cache: Arc<ToolCache>,
    fleet: Arc<Fleet>,
) {
    let stop = lifecycle.soft().clone();
    let (for_fleet, for_registry) = (readiness.clone(), readiness.clone());
    let draining = readiness.clone();
    lifecycle.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => draining.set_draining(),
            () = watch_fleet(&fleet, &for_fleet) => {}
            () = watch_registry(&*registry, &cache, &for_registry) => {}
        }
    });
}

async fn watch_fleet(fleet: &Fleet, readiness: &Readiness) {
    loop {
        let health = fleet.health();
        for (&state, &count) in &health.states {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            metrics::gauge!(metric_names::EXECUTORS, "state" => state).set(f64::from(count));
        }
        match degraded(&health) {
            None => {
                if readiness.restore("executors") {
                    tracing::info!(executors = health.takes_work, "executors take work");
                }
            }
            Some(why) => {
                if readiness.degrade("executors", &why) {
                    tracing::warn!(
                        executors = health.takes_work,
                        reason = why,
                        "executors take no work, or not all"
                    );
                }
            }
        }
        tokio::time::sleep(FLEET_INTERVAL).await;
    }
}

/// A runtime that no node offers is not lacking: an executor that was told to have it would not have started.
fn degraded(health: &FleetHealth) -> Option<String> {
    match (health.joined, health.takes_work) {
        (0, _) => Some("none has joined".to_owned()),
        (_, taking) if taking == 0 || !health.down.is_empty() => Some(health.troubles.join("; ")),
        _ => None,
    }
}

async fn watch_registry(registry: &dyn Registry, cache: &ToolCache, readiness: &Readiness) {
    while let Err(error) = cache.tools(&TenantId::default()).await {
        readiness.degrade("registry", error.to_string());
        tokio::time::sleep(FIRST_LOAD_PAUSE).await;
    }
    readiness.set_loaded();
    let mut stale = cache.stale();
    loop {
        let problem = match registry.check().await {
            Err(error) => Some(error.to_string()),
            Ok(()) => stale.borrow_and_update().clone(),
        };
        let rest = if problem.is_some() {
            REGISTRY_RETRY
        } else {
            REGISTRY_INTERVAL
        };
        match problem {
            Some(problem) => {
                if readiness.degrade("registry", &problem) {
                    tracing::warn!(
                        reason = problem,
                        "the registry does not answer; known tools are served on"
                    );
                }
            }
            None => {
                if readiness.restore("registry") {
                    tracing::info!("the registry answers again");
                }
            }
        }
        let over = tokio::time::Instant::now() + rest;
        if let Ok(Err(_closed)) = tokio::time::timeout_at(over, stale.changed()).await {
            tokio::time::sleep_until(over).await;
        }
    }
}
