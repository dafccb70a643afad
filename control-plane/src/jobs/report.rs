//! From the way in which a job ended to what its caller is told.

use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_shared::ids::JobId;
use dynamic_mcp_shared::job::{CapturedOutput, Runtime, ToolError};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::PolicyError;

use crate::audit::Unaudited;
use crate::auth::Forbidden;
use crate::guard::Refusal;
use crate::registry::RegistryError;
use crate::registry::schema::{self, SchemaCheck};
use crate::sandbox::SandboxError;
use crate::scheduler::{NeverStarted, Scheduled};

/// What a node without capacity is worth waiting for.
const CAPACITY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a job. Every way in which one can end is in here; nothing is thrown.
#[derive(Debug, Clone)]
pub struct JobReport {
    pub job_id: JobId,
    pub outcome: Outcome,
    /// What the code ran on or was to run on; `None` where it was refused before that was settled.
    pub runtime: Option<Runtime>,
    /// JSON text, when the outcome is ok; of commands in a sandbox session also what there is when they were cut short.
    pub result: Option<Bytes>,
    /// Why there is no result, otherwise.
    pub error: Option<ToolError>,
    /// The short name of a refusal: `rate_limited`, `no_capacity`, …
    pub reason: Option<&'static str>,
    /// With a refusal: when it is worth trying again.
    pub retry_after: Option<Duration>,
    /// From the request to the answer, waits included.
    pub duration: Duration,
    /// What the code printed, with marks where it was cut.
    pub stdout: String,
    pub stderr: String,
    pub output_truncated: bool,
    /// What was printed in all, both streams together.
    pub output_bytes: u64,
}

/// How a job ended.
#[derive(Debug)]
pub(super) enum Ended {
    InvalidInput(String),
    Forbidden(PolicyError),
    Refused(Refusal),
    ShuttingDown,
    /// What holds for the tenant is not known.
    UnknownTenant(RegistryError),
    Unaudited(Unaudited),
    /// It was told to stop, and by nobody who called it.
    CutOff(CutOff),
    Scheduled(Scheduled),
    /// The admin token is missing or wrong.
    NotAllowed(Forbidden),
    /// The sandbox session is not there, or did not take the work.
    Sandbox(SandboxError),
    /// Something was done that is no run of code: JSON text of what came of it.
    Done(Bytes),
}

/// Why a call was ended that nobody cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOff {
    /// Its permit was lost while it ran.
    Revoked,
    /// The time is over that running calls get when the server stops.
    ShutDown,
}

impl From<CutOff> for ToolError {
    fn from(why: CutOff) -> Self {
        let why = match why {
            CutOff::Revoked => {
                "its permit could not be renewed, because the store that replicas share was away"
            }
            CutOff::ShutDown => "this server shut down",
        };
        let text = format!("the call was ended and may have run in part: {why}");
        ToolError::new("Interrupted", text)
    }
}

impl From<SandboxError> for Ended {
    fn from(error: SandboxError) -> Self {
        Ended::Sandbox(error)
    }
}

impl From<PolicyError> for Ended {
    fn from(error: PolicyError) -> Self {
        match error {
            // Nobody's policy, but what a dependency is.
            PolicyError::Package(error) => Ended::InvalidInput(error.to_string()),
            error => Ended::Forbidden(error),
        }
    }
}

impl Ended {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Ended::InvalidInput(_) => Outcome::InvalidInput,
            Ended::Sandbox(SandboxError::Unclear { .. }) => Outcome::Interrupted,
            Ended::Forbidden(_)
            | Ended::Refused(_)
            | Ended::ShuttingDown
            | Ended::UnknownTenant(_)
            | Ended::NotAllowed(_)
            | Ended::Sandbox(_)
            | Ended::Unaudited(_) => Outcome::NeverStarted,
            Ended::Done(_) => Outcome::Ok,
            Ended::Scheduled(Scheduled::Finished { finished, .. }) => finished.outcome,
            Ended::CutOff(_) => Outcome::Interrupted,
            Ended::Scheduled(Scheduled::NeverStarted { .. }) => Outcome::NeverStarted,
            Ended::Scheduled(Scheduled::Interrupted { .. }) => Outcome::Interrupted,
            Ended::Scheduled(Scheduled::Cancelled) => Outcome::Cancelled,
        }
    }

    /// Whether its code may still run: the way to its executor broke, which may not know that yet.
    pub(super) fn may_run_on(&self) -> bool {
        matches!(self, Ended::Scheduled(Scheduled::Interrupted { .. }))
    }

    /// That it was cancelled is true only of what its caller gave up.
    pub(super) fn cut_off(mut self, why: CutOff) -> Self {
        match &mut self {
            Ended::Scheduled(Scheduled::Cancelled) => Ended::CutOff(why),
            Ended::Scheduled(Scheduled::Finished { finished, .. })
                if finished.outcome == Outcome::Cancelled =>
            {
                finished.outcome = Outcome::Interrupted;
                finished.error = Some(why.into());
                self
            }
            _ => self,
        }
    }

    /// A result that does not fit the tool's own output schema is none.
    pub(super) fn checked(mut self, schema: Option<&SchemaCheck>) -> Self {
        let (Ended::Scheduled(Scheduled::Finished { finished, .. }), Some(schema)) = (&mut self, schema)
        else {
            return self;
        };
        let Some(result) = &finished.result else {
            return self;
        };
        let problem = match serde_json::from_slice(result) {
            Ok(value) => schema
                .check(&value)
                .err()
                .map(|violations| schema::describe("the result", &violations)),
            Err(error) => Some(format!("the result is not JSON: {error}")),
        };
        if let Some(problem) = problem {
            finished.outcome = Outcome::InvalidOutput;
            finished.result = None;
            finished.error = Some(ToolError::new("InvalidOutput", problem));
        }
        self
    }
}

impl JobReport {
    pub(super) fn new(job_id: JobId, ended: Ended, runtime: Option<Runtime>, duration: Duration) -> Self {
        let outcome = ended.outcome();
        let mut report = Self {
            job_id,
            outcome,
            runtime,
            result: None,
            error: None,
            reason: None,
            retry_after: None,
            duration,
            stdout: String::new(),
            stderr: String::new(),
            output_truncated: false,
            output_bytes: 0,
        };
        match ended {
            Ended::InvalidInput(problem) => report.error = Some(ToolError::new("InvalidInput", problem)),
            Ended::Forbidden(error) => {
                report.reason = Some("policy");
                report.error = Some(ToolError::new("Forbidden", format!("nothing ran: {error}")));
            }
            Ended::Refused(refusal) => {
                report.reason = Some(match refusal {
                    Refusal::Rate { .. } => "rate_limited",
                    Refusal::Concurrency { .. } => "concurrency_limited",
                    Refusal::StoreLost { .. } => "guard_unavailable",
                });
                report.retry_after = Some(refusal.retry_after());
                report.error = Some(ToolError::new("Refused", refusal.to_string()));
            }
            Ended::ShuttingDown => {
                report.reason = Some("shutting_down");
                report.retry_after = Some(CAPACITY_RETRY_AFTER);
                let text = "this server is shutting down; nothing ran, call again";
                report.error = Some(ToolError::new("Refused", text));
            }
            Ended::UnknownTenant(error) => {
                report.reason = Some("unavailable");
                report.retry_after = Some(CAPACITY_RETRY_AFTER);
                report.error = Some(ToolError::new("Refused", error.to_string()));
            }
            Ended::Unaudited(unaudited) => {
                report.reason = Some(Unaudited::REASON);
                report.retry_after = Some(CAPACITY_RETRY_AFTER);
                let text = format!("nothing ran: {unaudited}");
                report.error = Some(ToolError::new("Refused", text));
            }
            Ended::CutOff(why) => report.error = Some(why.into()),
            Ended::NotAllowed(forbidden) => {
                report.reason = Some("forbidden");
                report.error = Some(ToolError::new("Forbidden", forbidden.to_string()));
            }
            Ended::Sandbox(error) => {
                report.reason = error.reason();
                report.retry_after = error.retry_after();
                let name = report.reason.map_or("Interrupted", |_| "Refused");
                report.error = Some(ToolError::new(name, error.to_string()));
            }
            Ended::Done(result) => report.result = Some(result),
            Ended::Scheduled(scheduled) => report.add(scheduled),
        }
        report
    }

    fn add(&mut self, scheduled: Scheduled) {
        match scheduled {
            Scheduled::Finished { finished, .. } => {
                self.output_truncated = finished.output_truncated();
                self.output_bytes = finished.stdout.total_bytes + finished.stderr.total_bytes;
                self.stdout = text(&finished.stdout);
                self.stderr = text(&finished.stderr);
                self.result = finished.result;
                self.error = finished.error;
            }
            Scheduled::NeverStarted { kind, message } => {
                (self.reason, self.retry_after) = match kind {
                    NeverStarted::NoCapacity => (Some("no_capacity"), Some(CAPACITY_RETRY_AFTER)),
                    NeverStarted::Unsatisfiable => (Some("unsatisfiable"), None),
                    NeverStarted::Refused => (Some("not_started"), None),
                };
                self.error = Some(ToolError::new("NeverStarted", format!("nothing ran: {message}")));
            }
            Scheduled::Interrupted { executor, message } => {
                let text = format!("the call was cut off on {executor} and may have run in part: {message}");
                self.error = Some(ToolError::new("Interrupted", text));
            }
            Scheduled::Cancelled => self.error = Some(ToolError::new("Cancelled", "the call was cancelled")),
        }
    }
}

fn text(output: &CapturedOutput) -> String {
    if output.total_bytes == 0 {
        String::new()
    } else {
        output.to_text()
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::job::Finished;
    use dynamic_mcp_shared::policy::Level;

    use super::*;

    fn report(ended: Ended) -> JobReport {
        JobReport::new(JobId::generate(), ended, None, Duration::ZERO)
    }

    #[test]
    fn a_refusal_says_that_nothing_ran_and_when_to_come_back() {
        let refusal = Refusal::Concurrency {
            by_tenant: false,
            limit: 8,
            retry_after: Duration::from_millis(250),
        };
        let report = report(Ended::Refused(refusal));
        assert_eq!(
            (report.outcome, report.reason),
            (Outcome::NeverStarted, Some("concurrency_limited"))
        );
        assert_eq!(report.retry_after, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_call_that_nobody_cancelled_is_interrupted_and_says_why() {
        let confirmed = || {
            let given_up = ToolError::new("Cancelled", "the call was cancelled");
            Ended::Scheduled(Scheduled::Finished {
                executor: dynamic_mcp_shared::ids::ExecutorId::generate(),
                finished: Box::new(Finished::failed(Outcome::Cancelled, given_up)),
            })
        };
        for (why, text) in [
            (CutOff::Revoked, "its permit could not be renewed"),
            (CutOff::ShutDown, "this server shut down"),
        ] {
            for ended in [Ended::Scheduled(Scheduled::Cancelled), confirmed()] {
                let report = report(ended.cut_off(why));
                assert_eq!((report.outcome, report.reason), (Outcome::Interrupted, None));
                assert!(report.error.is_some_and(|error| error.message.contains(text)));
            }
        }
        let done = report(Ended::Done(Bytes::new()).cut_off(CutOff::Revoked));
        assert_eq!(done.outcome, Outcome::Ok, "it had ended by itself");
    }

    #[test]
    fn what_a_policy_forbids_is_not_worth_trying_again() {
        let error = PolicyError::ToolIsolation { level: Level::Tenant };
        let report = report(error.into());
        assert_eq!(
            (report.outcome, report.reason, report.retry_after),
            (Outcome::NeverStarted, Some("policy"), None)
        );
        assert!(
            report
                .error
                .is_some_and(|error| error.message.contains("the tenant's policy"))
        );
    }

    #[test]
    fn an_interrupted_call_does_not_claim_that_nothing_ran() {
        let executor = dynamic_mcp_shared::ids::ExecutorId::generate();
        let report = report(Ended::Scheduled(Scheduled::Interrupted {
            executor,
            message: "gone".into(),
        }));
        assert_eq!(report.outcome, Outcome::Interrupted);
        assert!(
            report
                .error
                .is_some_and(|error| error.message.contains("may have run"))
        );
    }
}
