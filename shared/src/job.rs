//! A job as both planes see it: what is to run, what it says while it runs, and how it ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::ContentHash;
use crate::ids::{CommandId, JobId, SandboxId, TenantId};
use crate::limits::{ByteSize, TimeoutMs};
use crate::outcome::Outcome;

/// What is shared between two calls of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing: one call, one container, then it is destroyed.
    #[default]
    Call,
    /// The container, one call at a time: the module is loaded once and `run` is called again.
    Tool,
}

impl Isolation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::Call => "call",
            Isolation::Tool => "tool",
        }
    }
}

/// What runs the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Node.js in a container.
    Node,
    /// An embedded engine in a locked-down process.
    Isolate,
}

impl Runtime {
    pub const ALL: [Runtime; 2] = [Runtime::Node, Runtime::Isolate];

    pub const fn as_str(self) -> &'static str {
        match self {
            Runtime::Node => "node",
            Runtime::Isolate => "isolate",
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An npm package by name and semver range or dist-tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub name: String,
    pub version: String,
}

/// What is to run. The `Debug` form leaves out the code, so that it can't reach a log by accident.
#[derive(Clone)]
pub struct Job {
    pub id: JobId,
    pub tenant: TenantId,
    /// `None` for an ephemeral run.
    pub tool: Option<String>,
    pub runtime: Runtime,
    /// Of [`Runtime::Node`]; nothing else looks at it.
    pub image: String,
    pub isolation: Isolation,
    /// `None` only with [`Isolation::Call`].
    pub content_hash: Option<ContentHash>,
    /// 0 for an ephemeral run.
    pub revision: u64,
    /// The body of `async function run(args, ctx)`.
    pub code: bytes::Bytes,
    pub dependency_lock: Option<bytes::Bytes>,
    pub timeout: TimeoutMs,
    /// What of the printed output is kept, both streams together.
    pub max_output_bytes: u64,
    /// `None`: as much as the executor gives each.
    pub max_memory: Option<ByteSize>,
    /// `None`: it gets a sandbox of its own.
    pub session: Option<SessionWork>,
}

/// What is to be done in a sandbox session. The `Debug` form leaves out the commands.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionWork {
    pub session: SandboxId,
    /// Whose it must be within the job's tenant.
    pub owner: String,
    /// Of the executor's life that opened it.
    pub epoch: u64,
    pub task: SessionTask,
}

#[derive(Clone, PartialEq, Eq)]
pub enum SessionTask {
    Commands {
        /// Each for `sh -c`.
        commands: Vec<String>,
        continue_on_error: bool,
        /// The job ends when they have begun; they go on.
        background: Option<InBackground>,
    },
    /// The job's code.
    RunJs,
}

/// Commands that go on when their job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InBackground {
    pub id: CommandId,
    /// They end with the job's time-out, too, and not only with their session.
    pub timed: bool,
}

impl std::fmt::Debug for SessionWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionWork")
            .field("session", &self.session)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// The memory of its sandbox on an executor that gives each `most`.
    pub fn memory(&self, most: ByteSize) -> ByteSize {
        self.max_memory.map_or(most, |memory| memory.min(most))
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("tool", &self.tool)
            .field("runtime", &self.runtime)
            .field("image", &self.image)
            .field("isolation", &self.isolation)
            .field("code_bytes", &self.code.len())
            .field("timeout", &self.timeout)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Where the sandbox of a job came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    Cold,
    Warm,
    Kept,
}

impl Placement {
    pub const fn as_str(self) -> &'static str {
        match self {
            Placement::Cold => "cold",
            Placement::Warm => "warm",
            Placement::Kept => "kept",
        }
    }
}

/// What a job says of itself while it runs, with `ctx.progress(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub progress: f64,
    pub total: Option<f64>,
    pub message: Option<String>,
}

/// What a job says while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    Progress(Progress),
    Output(Output),
}

/// What a command prints, as it comes. The `Debug` form shows its size.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    pub stream: OutputStream,
    pub data: bytes::Bytes,
    /// Which of the commands, counted from 0.
    pub command: u32,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("stream", &self.stream)
            .field("bytes", &self.data.len())
            .field("command", &self.command)
            .finish()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// How a job ended. The `Debug` form shows sizes, not contents.
#[derive(Clone, PartialEq)]
pub struct Finished {
    pub outcome: Outcome,
    /// JSON text; `Some` when the outcome is [`Outcome::Ok`]. With any other one only of commands in a sandbox session
    /// that were cut short: what became of those that had begun.
    pub result: Option<bytes::Bytes>,
    pub error: Option<ToolError>,
    pub stdout: CapturedOutput,
    pub stderr: CapturedOutput,
    pub usage: Usage,
}

impl Finished {
    /// An end without a result.
    pub fn failed(outcome: Outcome, error: ToolError) -> Self {
        debug_assert!(
            !outcome.is_ok(),
            "a job that went well has a result, not an error"
        );
        Self {
            outcome,
            result: None,
            error: Some(error),
            stdout: CapturedOutput::default(),
            stderr: CapturedOutput::default(),
            usage: Usage::default(),
        }
    }

    pub fn output_truncated(&self) -> bool {
        self.stdout.truncated() || self.stderr.truncated()
    }
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished")
            .field("outcome", &self.outcome)
            .field("result_bytes", &self.result.as_ref().map(bytes::Bytes::len))
            .field("stdout_bytes", &self.stdout.total_bytes)
            .field("stderr_bytes", &self.stderr.total_bytes)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

/// The error of the user's code, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolError {
    pub name: String,
    pub message: String,
    pub stack: String,
}

impl ToolError {
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            message: message.into(),
            stack: String::new(),
        }
    }
}

/// One stream's output. When it was longer than its cap, the middle is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapturedOutput {
    pub head: bytes::Bytes,
    pub tail: bytes::Bytes,
    pub total_bytes: u64,
}

impl CapturedOutput {
    pub fn omitted_bytes(&self) -> u64 {
        self.total_bytes
            .saturating_sub((self.head.len() + self.tail.len()) as u64)
    }

    pub fn truncated(&self) -> bool {
        self.omitted_bytes() > 0
    }

    /// The text with a mark where something was left out. Bytes that are not UTF-8 are replaced.
    pub fn to_text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.truncated() {
            text.push_str(&format!(
                "\n[... {} of {} bytes left out ...]\n",
                self.omitted_bytes(),
                self.total_bytes
            ));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// From the start to the end of the job, as the executor saw it.
    pub duration: Duration,
    /// From the request to the prepared sandbox.
    pub prepare: Duration,
}

/// Nothing of the job ran and nothing will.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub reason: RejectReason,
    /// For a person; holds no code and no arguments.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    NoCapacity,
    Draining,
    Engine,
    Unsupported,
    Dependencies,
    /// The sandbox session is not there any more.
    SessionLost,
    /// As many commands run in the sandbox session as may.
    SessionBusy,
}

impl RejectReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectReason::NoCapacity => "no_capacity",
            RejectReason::Draining => "draining",
            RejectReason::Engine => "engine",
            RejectReason::Unsupported => "unsupported",
            RejectReason::Dependencies => "dependencies",
            RejectReason::SessionLost => "session_lost",
            RejectReason::SessionBusy => "session_busy",
        }
    }

    /// Whether another node might take what this one refused.
    pub const fn worth_retrying_elsewhere(self) -> bool {
        !matches!(
            self,
            RejectReason::Dependencies | RejectReason::SessionLost | RejectReason::SessionBusy
        )
    }
}

/// What a node tells of itself when it joins and with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStatus {
    pub slots: u32,
    pub running: u32,
    pub draining: bool,
    /// What it offers to run code with.
    pub runtimes: Vec<RuntimeStatus>,
    pub images: Vec<ImageStatus>,
    pub running_jobs: Vec<JobId>,
    /// Sandbox sessions it holds.
    pub sandboxes: Vec<SandboxSession>,
    /// Sandbox sessions it may hold at once; 0: it offers none.
    pub sandbox_slots: u32,
}

/// A sandbox session as its executor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSession {
    pub id: SandboxId,
    pub tenant: TenantId,
    /// Whose it is within the tenant; opaque to the executor.
    pub owner: String,
    pub image: String,
    /// What a command gets that names no time-out of its own.
    pub timeout: TimeoutMs,
    pub created_ms: i64,
    pub last_used_ms: i64,
}

impl NodeStatus {
    /// Whether it can run anything now.
    pub fn is_ready(&self) -> bool {
        self.runtimes.iter().any(RuntimeStatus::is_available)
    }

    pub fn runtime(&self, runtime: Runtime) -> Option<&RuntimeStatus> {
        self.runtimes.iter().find(|status| status.runtime == runtime)
    }

    /// Why what it offers can't run jobs now, one entry for each runtime that can't.
    pub fn troubles(&self) -> impl Iterator<Item = String> {
        self.runtimes
            .iter()
            .filter_map(|status| Some(format!("{}: {}", status.runtime, status.unavailable.as_ref()?)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeStatus {
    pub runtime: Runtime,
    /// Why it can't run jobs now; `None` when it can.
    pub unavailable: Option<String>,
    /// How its sandboxes are walled in: the OCI runtime ("runc", "crun", "runsc") of containers, the tier of isolates.
    pub sandbox: String,
}

impl RuntimeStatus {
    pub fn is_available(&self) -> bool {
        self.unavailable.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStatus {
    pub name: String,
    pub present: bool,
    pub warm: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_output_says_how_much_is_missing() {
        let output = CapturedOutput {
            head: "abc".into(),
            tail: "xyz".into(),
            total_bytes: 100,
        };
        assert!(output.truncated());
        assert_eq!(output.to_text(), "abc\n[... 94 of 100 bytes left out ...]\nxyz");
    }

    #[test]
    fn whole_output_carries_no_mark() {
        let output = CapturedOutput {
            head: "abc".into(),
            tail: Default::default(),
            total_bytes: 3,
        };
        assert!(!output.truncated());
        assert_eq!(output.to_text(), "abc");
    }
}
