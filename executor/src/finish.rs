//! The end of a call: what its caller is told, and what is counted.

use std::time::Duration;

use dynamic_mcp_shared::job::{Finished, Job, Placement, Usage};
use tokio::time::Instant;

use crate::capture::Capture;
use crate::metric_names;
use crate::verdict::Verdict;

/// How a call was got ready and when it began.
pub struct Run<'a> {
    pub job: &'a Job,
    pub placement: Placement,
    pub prepare: Duration,
    pub began: Instant,
}

impl Run<'_> {
    pub fn finish(self, verdict: Verdict, capture: Capture) -> Finished {
        let (stdout, stderr) = capture.finish();
        let duration = self.began.elapsed();
        let (placement, runtime) = (self.placement.as_str(), self.job.runtime.as_str());
        metrics::counter!(
            metric_names::JOBS_TOTAL,
            "outcome" => verdict.outcome.as_str(), "placement" => placement, "runtime" => runtime
        )
        .increment(1);
        metrics::histogram!(metric_names::JOB_SECONDS, "placement" => placement, "runtime" => runtime)
            .record(duration.as_secs_f64());
        Finished {
            outcome: verdict.outcome,
            result: verdict.result,
            error: verdict.error,
            stdout,
            stderr,
            usage: Usage {
                duration,
                prepare: self.prepare,
            },
        }
    }
}
