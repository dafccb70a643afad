//! The process's metrics in the text format of Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{Instant, MissedTickBehavior};

use super::HttpState;
use crate::metric_names;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Samples of histograms wait in memory until then, whether anybody scrapes or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// From a tenth of what a kept sandbox takes to the longest call, in seconds.
const BUCKETS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    15.0, 60.0, 120.0,
];

#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder can't be installed: {0}")]
pub struct MetricsError(#[from] BuildError);

/// What was recorded in this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    started: Instant,
}

impl Metrics {
    /// Makes this the process's recorder and registers the contract's metrics. `started`: when the process did.
    ///
    /// # Errors
    /// When there is a recorder already.
    pub fn install(started: Instant) -> Result<Self, MetricsError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
            .install_recorder()?;
        metric_names::describe();
        Ok(Self { handle, started })
    }

    /// Folds the samples of histograms together from time to time, until the soft token.
    pub fn keep_up(&self, lifecycle: &Lifecycle) {
        let handle = self.handle.clone();
        let stop = lifecycle.soft().clone();
        lifecycle.spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                handle.run_upkeep();
            }
        });
    }

    pub fn render(&self) -> String {
        metrics::gauge!(metric_names::PROCESS_UPTIME).set(self.started.elapsed().as_secs_f64());
        self.handle.render()
    }
}

pub(super) async fn scrape(State(state): State<HttpState>) -> Response {
    (
        [(CONTENT_TYPE, TEXT_FORMAT), (CACHE_CONTROL, "no-store")],
        state.metrics.render(),
    )
        .into_response()
}
