//! Between the wire's types and the domain's. Whatever comes in is checked here once.

use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_proto::v1;

use crate::content::ContentHash;
use crate::job::{
    CapturedOutput, Dependency, Finished, ImageStatus, InBackground, Isolation, Job, NodeStatus, Output,
    OutputStream, Placement, Progress, RejectReason, Rejection, Runtime, RuntimeStatus, SandboxSession,
    SessionTask, SessionWork, ToolError, Usage,
};
use crate::limits::{ByteSize, TimeoutMs};
use crate::outcome::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field} {problem}")]
pub struct Malformed {
    pub field: &'static str,
    pub problem: String,
}

fn malformed(field: &'static str, problem: impl std::fmt::Display) -> Malformed {
    Malformed {
        field,
        problem: problem.to_string(),
    }
}

impl From<Job> for v1::Prepare {
    fn from(job: Job) -> Self {
        Self {
            job_id: job.id.into(),
            tenant: job.tenant.into(),
            tool: job.tool.unwrap_or_default(),
            runtime: v1::Runtime::from(job.runtime).into(),
            image: job.image,
            isolation: v1::Isolation::from(job.isolation).into(),
            content_hash: job.content_hash.map(String::from).unwrap_or_default(),
            revision: job.revision,
            code: job.code,
            dependency_lock: job.dependency_lock,
            limits: Some(v1::Limits {
                timeout_ms: job.timeout.as_millis(),
                max_output_bytes: job.max_output_bytes,
                max_memory_bytes: job.max_memory.map_or(0, |size| size.0),
            }),
            session: job.session.map(v1::SessionWork::from),
            wait_ms: 0,
        }
    }
}

impl TryFrom<v1::Prepare> for Job {
    type Error = Malformed;

    fn try_from(message: v1::Prepare) -> Result<Self, Malformed> {
        let isolation = match message.isolation() {
            v1::Isolation::Unspecified => return Err(malformed("isolation", "is missing")),
            v1::Isolation::Call => Isolation::Call,
            v1::Isolation::Tool => Isolation::Tool,
        };
        let runtime = Runtime::try_from(message.runtime())?;
        let content_hash: Option<ContentHash> = match message.content_hash.as_str() {
            "" if isolation == Isolation::Tool => {
                return Err(malformed("content_hash", "is missing and isolation is tool"));
            }
            "" => None,
            text => Some(text.parse().map_err(|error| malformed("content_hash", error))?),
        };
        let limits = message.limits.ok_or_else(|| malformed("limits", "are missing"))?;
        std::str::from_utf8(&message.code).map_err(|error| malformed("code", error))?;
        Ok(Self {
            id: message
                .job_id
                .parse()
                .map_err(|error| malformed("job_id", error))?,
            tenant: message
                .tenant
                .parse()
                .map_err(|error| malformed("tenant", error))?,
            tool: (!message.tool.is_empty()).then_some(message.tool),
            runtime,
            image: message.image,
            isolation,
            content_hash,
            revision: message.revision,
            code: message.code,
            dependency_lock: message.dependency_lock,
            timeout: TimeoutMs::new(u64::from(limits.timeout_ms))
                .map_err(|error| malformed("limits", error))?,
            max_output_bytes: limits.max_output_bytes,
            max_memory: (limits.max_memory_bytes > 0).then_some(ByteSize(limits.max_memory_bytes)),
            session: message.session.map(SessionWork::try_from).transpose()?,
        })
    }
}

impl From<SessionWork> for v1::SessionWork {
    fn from(work: SessionWork) -> Self {
        let task = match work.task {
            SessionTask::RunJs => v1::session_work::Work::RunJs(v1::RunJs {}),
            SessionTask::Commands {
                commands,
                continue_on_error,
                background,
            } => v1::session_work::Work::Commands(v1::ShellCommands {
                commands,
                continue_on_error,
                background_timeout: background.as_ref().is_some_and(|background| background.timed),
                background_id: background
                    .map(|background| background.id.into())
                    .unwrap_or_default(),
            }),
        };
        Self {
            session_id: work.session.into(),
            owner: work.owner,
            epoch: work.epoch,
            work: Some(task),
        }
    }
}

impl TryFrom<v1::SessionWork> for SessionWork {
    type Error = Malformed;

    fn try_from(message: v1::SessionWork) -> Result<Self, Malformed> {
        let task = match message.work {
            None => return Err(malformed("session.work", "is missing")),
            Some(v1::session_work::Work::RunJs(_)) => SessionTask::RunJs,
            Some(v1::session_work::Work::Commands(commands)) if commands.commands.is_empty() => {
                return Err(malformed("session.commands", "are missing"));
            }
            Some(v1::session_work::Work::Commands(commands)) => SessionTask::Commands {
                background: match commands.background_id.as_str() {
                    "" => None,
                    id => Some(InBackground {
                        id: id
                            .parse()
                            .map_err(|error| malformed("session.background_id", error))?,
                        timed: commands.background_timeout,
                    }),
                },
                commands: commands.commands,
                continue_on_error: commands.continue_on_error,
            },
        };
        Ok(Self {
            session: message
                .session_id
                .parse()
                .map_err(|error| malformed("session.session_id", error))?,
            owner: message.owner,
            epoch: message.epoch,
            task,
        })
    }
}

impl From<Output> for v1::Output {
    fn from(output: Output) -> Self {
        let stream = match output.stream {
            OutputStream::Stdout => v1::OutputStream::Stdout,
            OutputStream::Stderr => v1::OutputStream::Stderr,
        };
        Self {
            stream: stream.into(),
            data: output.data,
            command: output.command,
        }
    }
}

impl From<v1::Output> for Output {
    fn from(message: v1::Output) -> Self {
        let stream = match message.stream() {
            v1::OutputStream::Stderr => OutputStream::Stderr,
            v1::OutputStream::Stdout | v1::OutputStream::Unspecified => OutputStream::Stdout,
        };
        Self {
            stream,
            data: message.data,
            command: message.command,
        }
    }
}

impl From<SandboxSession> for v1::SandboxSession {
    fn from(session: SandboxSession) -> Self {
        Self {
            session_id: session.id.into(),
            tenant: session.tenant.into(),
            owner: session.owner,
            image: session.image,
            timeout_ms: session.timeout.as_millis(),
            created_ms: session.created_ms,
            last_used_ms: session.last_used_ms,
        }
    }
}

impl TryFrom<v1::SandboxSession> for SandboxSession {
    type Error = Malformed;

    fn try_from(message: v1::SandboxSession) -> Result<Self, Malformed> {
        Ok(Self {
            id: message
                .session_id
                .parse()
                .map_err(|error| malformed("sandboxes.session_id", error))?,
            tenant: message
                .tenant
                .parse()
                .map_err(|error| malformed("sandboxes.tenant", error))?,
            owner: message.owner,
            image: message.image,
            timeout: TimeoutMs::new(u64::from(message.timeout_ms))
                .map_err(|error| malformed("sandboxes.timeout_ms", error))?,
            created_ms: message.created_ms,
            last_used_ms: message.last_used_ms,
        })
    }
}

impl From<Isolation> for v1::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Call => v1::Isolation::Call,
            Isolation::Tool => v1::Isolation::Tool,
        }
    }
}

impl From<Runtime> for v1::Runtime {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Node => v1::Runtime::Node,
            Runtime::Isolate => v1::Runtime::Isolate,
        }
    }
}

impl TryFrom<v1::Runtime> for Runtime {
    type Error = Malformed;

    fn try_from(runtime: v1::Runtime) -> Result<Self, Malformed> {
        match runtime {
            v1::Runtime::Unspecified => Err(malformed("runtime", "is missing")),
            v1::Runtime::Node => Ok(Runtime::Node),
            v1::Runtime::Isolate => Ok(Runtime::Isolate),
        }
    }
}

impl From<Placement> for v1::Placement {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Cold => v1::Placement::Cold,
            Placement::Warm => v1::Placement::Warm,
            Placement::Kept => v1::Placement::Kept,
        }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = Malformed;

    fn try_from(placement: v1::Placement) -> Result<Self, Malformed> {
        match placement {
            v1::Placement::Unspecified => Err(malformed("placement", "is missing")),
            v1::Placement::Cold => Ok(Placement::Cold),
            v1::Placement::Warm => Ok(Placement::Warm),
            v1::Placement::Kept => Ok(Placement::Kept),
        }
    }
}

impl From<Rejection> for v1::Rejected {
    fn from(rejection: Rejection) -> Self {
        let reason = match rejection.reason {
            RejectReason::NoCapacity => v1::RejectReason::NoCapacity,
            RejectReason::Draining => v1::RejectReason::Draining,
            RejectReason::Engine => v1::RejectReason::Engine,
            RejectReason::Unsupported => v1::RejectReason::Unsupported,
            RejectReason::Dependencies => v1::RejectReason::Dependencies,
            RejectReason::SessionLost => v1::RejectReason::SessionLost,
            RejectReason::SessionBusy => v1::RejectReason::SessionBusy,
        };
        Self {
            reason: reason.into(),
            message: rejection.message,
        }
    }
}

impl From<v1::Rejected> for Rejection {
    fn from(message: v1::Rejected) -> Self {
        let reason = match message.reason() {
            v1::RejectReason::NoCapacity => RejectReason::NoCapacity,
            v1::RejectReason::Draining => RejectReason::Draining,
            v1::RejectReason::Unsupported => RejectReason::Unsupported,
            v1::RejectReason::Dependencies => RejectReason::Dependencies,
            v1::RejectReason::SessionLost => RejectReason::SessionLost,
            v1::RejectReason::SessionBusy => RejectReason::SessionBusy,
            v1::RejectReason::Engine | v1::RejectReason::Unspecified => RejectReason::Engine,
        };
        Self {
            reason,
            message: message.message,
        }
    }
}

impl From<Progress> for v1::Progress {
    fn from(progress: Progress) -> Self {
        Self {
            progress: progress.progress,
            total: progress.total,
            message: progress.message,
        }
    }
}

impl From<v1::Progress> for Progress {
    fn from(message: v1::Progress) -> Self {
        Self {
            progress: message.progress,
            total: message.total,
            message: message.message,
        }
    }
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => v1::Outcome::Ok,
            Outcome::Threw => v1::Outcome::Threw,
            Outcome::TimedOut => v1::Outcome::TimedOut,
            Outcome::OutOfMemory => v1::Outcome::OutOfMemory,
            Outcome::Cancelled => v1::Outcome::Cancelled,
            Outcome::InvalidInput => v1::Outcome::InvalidInput,
            Outcome::InvalidOutput => v1::Outcome::InvalidOutput,
            Outcome::NeverStarted => v1::Outcome::NeverStarted,
            Outcome::Interrupted => v1::Outcome::Interrupted,
        }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Malformed;

    fn try_from(outcome: v1::Outcome) -> Result<Self, Malformed> {
        Ok(match outcome {
            v1::Outcome::Unspecified => return Err(malformed("outcome", "is missing")),
            v1::Outcome::Ok => Outcome::Ok,
            v1::Outcome::Threw => Outcome::Threw,
            v1::Outcome::TimedOut => Outcome::TimedOut,
            v1::Outcome::OutOfMemory => Outcome::OutOfMemory,
            v1::Outcome::Cancelled => Outcome::Cancelled,
            v1::Outcome::InvalidInput => Outcome::InvalidInput,
            v1::Outcome::InvalidOutput => Outcome::InvalidOutput,
            v1::Outcome::NeverStarted => Outcome::NeverStarted,
            v1::Outcome::Interrupted => Outcome::Interrupted,
        })
    }
}

impl From<Finished> for v1::Finished {
    fn from(finished: Finished) -> Self {
        let (result_json, partial_json) = if finished.outcome.is_ok() {
            (finished.result, None)
        } else {
            (None, finished.result)
        };
        Self {
            outcome: v1::Outcome::from(finished.outcome).into(),
            result_json,
            partial_json,
            error: finished.error.map(|error| v1::ToolError {
                name: error.name,
                message: error.message,
                stack: error.stack,
            }),
            stdout: Some(finished.stdout.into()),
            stderr: Some(finished.stderr.into()),
            usage: Some(v1::Usage {
                duration_us: micros(finished.usage.duration),
                prepare_us: micros(finished.usage.prepare),
            }),
        }
    }
}

impl TryFrom<v1::Finished> for Finished {
    type Error = Malformed;

    fn try_from(message: v1::Finished) -> Result<Self, Malformed> {
        let outcome = Outcome::try_from(message.outcome())?;
        let result = if outcome.is_ok() {
            message.result_json
        } else {
            message.partial_json
        };
        if outcome.is_ok() && result.is_none() {
            return Err(malformed("result_json", "is missing and the outcome is ok"));
        }
        let usage = message.usage.unwrap_or_default();
        Ok(Self {
            outcome,
            result,
            error: message.error.map(|error| ToolError {
                name: error.name,
                message: error.message,
                stack: error.stack,
            }),
            stdout: message.stdout.map(CapturedOutput::from).unwrap_or_default(),
            stderr: message.stderr.map(CapturedOutput::from).unwrap_or_default(),
            usage: Usage {
                duration: Duration::from_micros(usage.duration_us),
                prepare: Duration::from_micros(usage.prepare_us),
            },
        })
    }
}

impl From<CapturedOutput> for v1::CapturedOutput {
    fn from(output: CapturedOutput) -> Self {
        Self {
            head: output.head,
            tail: output.tail,
            total_bytes: output.total_bytes,
        }
    }
}

impl From<v1::CapturedOutput> for CapturedOutput {
    fn from(message: v1::CapturedOutput) -> Self {
        let kept = (message.head.len() + message.tail.len()) as u64;
        Self {
            head: message.head,
            tail: message.tail,
            total_bytes: message.total_bytes.max(kept),
        }
    }
}

impl From<Dependency> for v1::Dependency {
    fn from(dependency: Dependency) -> Self {
        Self {
            name: dependency.name,
            version: dependency.version,
        }
    }
}

impl From<v1::Dependency> for Dependency {
    fn from(message: v1::Dependency) -> Self {
        Self {
            name: message.name,
            version: message.version,
        }
    }
}

impl From<NodeStatus> for v1::NodeStatus {
    fn from(status: NodeStatus) -> Self {
        Self {
            slots: status.slots,
            running: status.running,
            draining: status.draining,
            runtimes: status.runtimes.into_iter().map(Into::into).collect(),
            images: status
                .images
                .into_iter()
                .map(|image| v1::ImageStatus {
                    name: image.name,
                    present: image.present,
                    warm: image.warm,
                })
                .collect(),
            running_jobs: status.running_jobs.into_iter().map(String::from).collect(),
            sandboxes: status.sandboxes.into_iter().map(Into::into).collect(),
            sandbox_slots: status.sandbox_slots,
        }
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = Malformed;

    fn try_from(message: v1::NodeStatus) -> Result<Self, Malformed> {
        let running_jobs = message
            .running_jobs
            .into_iter()
            .map(|id| id.parse().map_err(|error| malformed("running_jobs", error)))
            .collect::<Result<_, _>>()?;
        let sandboxes = message
            .sandboxes
            .into_iter()
            .map(SandboxSession::try_from)
            .collect::<Result<_, _>>()?;
        // A newer executor may offer what this control plane has not heard of.
        let runtimes = message
            .runtimes
            .into_iter()
            .filter_map(|status| RuntimeStatus::try_from(status).ok())
            .collect();
        Ok(Self {
            slots: message.slots,
            running: message.running,
            draining: message.draining,
            runtimes,
            images: message
                .images
                .into_iter()
                .map(|image| ImageStatus {
                    name: image.name,
                    present: image.present,
                    warm: image.warm,
                })
                .collect(),
            running_jobs,
            sandboxes,
            sandbox_slots: message.sandbox_slots,
        })
    }
}

/// An `ExecuteRequest` around one of its messages.
pub fn execute_request(message: v1::execute_request::Message) -> v1::ExecuteRequest {
    v1::ExecuteRequest {
        message: Some(message),
    }
}

/// An `ExecuteEvent` around one of its messages.
pub fn execute_event(message: v1::execute_event::Message) -> v1::ExecuteEvent {
    v1::ExecuteEvent {
        message: Some(message),
    }
}

impl From<RuntimeStatus> for v1::RuntimeStatus {
    fn from(status: RuntimeStatus) -> Self {
        Self {
            runtime: v1::Runtime::from(status.runtime).into(),
            unavailable: status.unavailable.unwrap_or_default(),
            sandbox: status.sandbox,
        }
    }
}

impl TryFrom<v1::RuntimeStatus> for RuntimeStatus {
    type Error = Malformed;

    fn try_from(message: v1::RuntimeStatus) -> Result<Self, Malformed> {
        Ok(Self {
            runtime: message.runtime().try_into()?,
            unavailable: (!message.unavailable.is_empty()).then_some(message.unavailable),
            sandbox: message.sandbox,
        })
    }
}

/// The `start` message of a job with these arguments, as JSON text.
pub fn start(args: Bytes) -> v1::ExecuteRequest {
    execute_request(v1::execute_request::Message::Start(v1::Start { args_json: args }))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommandId, JobId, SandboxId};

    fn job() -> Job {
        Job {
            id: JobId::generate(),
            tenant: Default::default(),
            tool: Some("shout".into()),
            runtime: Runtime::Node,
            image: "node:lts-slim".into(),
            isolation: Isolation::Call,
            content_hash: None,
            revision: 0,
            code: "return 1".into(),
            dependency_lock: None,
            timeout: TimeoutMs::DEFAULT,
            max_output_bytes: 10,
            max_memory: Some(ByteSize(64 << 20)),
            session: Some(SessionWork {
                session: SandboxId::generate(),
                owner: "anna".to_owned(),
                epoch: 7,
                task: SessionTask::Commands {
                    commands: vec!["true".to_owned()],
                    continue_on_error: true,
                    background: Some(InBackground {
                        id: CommandId::generate(),
                        timed: true,
                    }),
                },
            }),
        }
    }

    #[test]
    fn a_job_survives_the_wire() {
        let before = job();
        let after = Job::try_from(v1::Prepare::from(before.clone())).unwrap();
        assert_eq!(
            (before.id, before.tool, before.code),
            (after.id, after.tool, after.code)
        );
        assert_eq!(
            (before.timeout, before.isolation),
            (after.timeout, after.isolation)
        );
        assert_eq!(before.session, after.session);
    }

    #[test]
    fn a_kept_container_needs_a_content_hash() {
        let message = v1::Prepare::from(Job {
            isolation: Isolation::Tool,
            ..job()
        });
        assert_eq!(Job::try_from(message).unwrap_err().field, "content_hash");
    }

    #[test]
    fn every_outcome_survives_the_wire() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::try_from(v1::Outcome::from(outcome)), Ok(outcome));
        }
    }

    #[test]
    fn what_was_done_before_a_cut_survives_the_wire_and_is_no_result() {
        let cut = Finished {
            result: Some("{}".into()),
            ..Finished::failed(Outcome::TimedOut, ToolError::new("TimedOut", "late"))
        };
        let message = v1::Finished::from(cut.clone());
        assert_eq!(message.result_json, None);
        assert_eq!(Finished::try_from(message).unwrap().result, cut.result);
        let claimed = v1::Finished {
            outcome: v1::Outcome::Threw.into(),
            result_json: Some("{}".into()),
            ..Default::default()
        };
        assert_eq!(Finished::try_from(claimed).unwrap().result, None);
    }

    #[test]
    fn an_ok_without_a_result_is_malformed() {
        let message = v1::Finished {
            outcome: v1::Outcome::Ok.into(),
            ..Default::default()
        };
        assert_eq!(Finished::try_from(message).unwrap_err().field, "result_json");
    }
}
