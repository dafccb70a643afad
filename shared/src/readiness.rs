//! What `/readyz` says: not ready until the first load and while draining; afterwards ready, naming what is degraded,
//! so that a lost Redis or Postgres never takes every replica out of service at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    loaded: bool,
    draining: bool,
    degraded: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessReport {
    pub ready: bool,
    /// `starting`, `ready`, `degraded` or `draining`.
    pub status: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub degraded: BTreeMap<&'static str, String>,
}

impl Readiness {
    pub fn set_loaded(&self) {
        self.0.lock().loaded = true;
    }

    pub fn set_draining(&self) {
        self.0.lock().draining = true;
    }

    /// A part works less than it should, and why. Answers whether that is news.
    pub fn degrade(&self, part: &'static str, why: impl Into<String>) -> bool {
        self.0.lock().degraded.insert(part, why.into()).is_none()
    }

    /// The part works again. Answers whether that is news.
    pub fn restore(&self, part: &'static str) -> bool {
        self.0.lock().degraded.remove(part).is_some()
    }

    pub fn report(&self) -> ReadinessReport {
        let state = self.0.lock();
        let status = match (state.draining, state.loaded, state.degraded.is_empty()) {
            (true, _, _) => "draining",
            (_, false, _) => "starting",
            (_, _, false) => "degraded",
            _ => "ready",
        };
        ReadinessReport {
            ready: state.loaded && !state.draining,
            status,
            degraded: state.degraded.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_part_is_named_and_does_not_take_the_replica_out() {
        let readiness = Readiness::default();
        assert!(!readiness.report().ready);
        readiness.set_loaded();
        assert!(readiness.degrade("registry", "no answer"));
        assert!(!readiness.degrade("registry", "still no answer"));
        let report = readiness.report();
        assert!(report.ready);
        assert_eq!(
            (report.status, report.degraded["registry"].as_str()),
            ("degraded", "still no answer")
        );
        assert!(readiness.restore("registry"));
        assert_eq!(readiness.report().status, "ready");
        readiness.set_draining();
        assert!(!readiness.report().ready);
    }
}
