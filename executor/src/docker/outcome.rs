//! From the way a call ended to what its caller is told. Pure: everything it knows is in its arguments.
//!
//! ```text
//! last frame ── result ────────────▶ ok               stream closed ── OOM kill, heap abort ──▶ out_of_memory
//!            ├─ threw ─────────────▶ threw                          ├─ any other exit code ───▶ threw
//!            ├─ uncaught, exited,                                   ├─ SIGKILL ───────────────▶ interrupted
//!            │  nothing left ──────▶ threw, not to be used again    └─ nobody can say ────────▶ interrupted
//!            └─ invalid output ────▶ invalid_output   deadline ▶ timed_out   cancel ▶ cancelled
//! ```

use std::time::Duration;

use dynamic_mcp_shared::job::ToolError;
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::outcome::Outcome;
use serde::Deserialize;

use super::frames::{Frame, Kind};
use crate::verdict::{self, Verdict, failed};

/// The runner's own exit code for a channel that the code has closed.
const CHANNEL_CLOSED: i64 = 77;
const SIGNALLED: i64 = 128;
const SIGKILL: i64 = 9;

#[derive(Debug)]
pub enum Ending {
    Frame(Frame),
    /// The stream ended without a last frame, and the container has ended.
    Exited(Exit),
    /// Nobody can say any more how it ended.
    Lost(String),
    Deadline,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub oom_killed: bool,
}

/// The limits that an error's text may name.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub timeout: Duration,
    pub memory: ByteSize,
    pub pids: i64,
    pub max_output_bytes: u64,
}

/// What the runner tells of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    name: String,
    message: String,
    stack: String,
    code: String,
    exit_code: i64,
    /// Processes of the sandbox that the kernel killed for memory during the call.
    oom_kills: i64,
    /// Processes and threads that it refused.
    pid_refusals: i64,
}

pub fn judge(ending: Ending, limits: &Limits, stderr_tail: &[u8]) -> Verdict {
    match ending {
        Ending::Frame(frame) => judge_frame(frame, limits),
        Ending::Exited(exit) => judge_exit(exit, limits, stderr_tail),
        Ending::Lost(why) => verdict::interrupted(why),
        Ending::Cancelled => verdict::cancelled(),
        Ending::Deadline => verdict::timed_out(limits.timeout),
    }
}

fn judge_frame(frame: Frame, limits: &Limits) -> Verdict {
    let Some(payload) = frame.payload else {
        return verdict::result_too_large(limits.max_output_bytes);
    };
    let told = || serde_json::from_slice::<Told>(&payload).unwrap_or_default();
    match frame.kind {
        Kind::Result => verdict::of_result(payload, limits.max_output_bytes),
        Kind::Threw => threw(told(), true, limits),
        Kind::Uncaught => threw(told(), false, limits),
        Kind::InvalidOutput => verdict::invalid_output(told().message),
        Kind::Exited => exited_with(told().exit_code),
        Kind::NothingLeft => verdict::never_settled(),
        Kind::Ready | Kind::Progress | Kind::StderrEnd => verdict::broke_protocol(),
    }
}

fn threw(told: Told, reusable: bool, limits: &Limits) -> Verdict {
    let out_of_memory = told.oom_kills > 0 || told.code == "ERR_WORKER_OUT_OF_MEMORY";
    let out_of_pids = told.pid_refusals > 0 || told.code == "EAGAIN";
    let mut error = ToolError {
        name: told.name,
        message: told.message,
        stack: told.stack,
    };
    if out_of_memory {
        error.message = format!(
            "a process or thread of the code was ended at the memory limit of {}: {}",
            limits.memory, error.message
        );
    } else if out_of_pids {
        error.message.push_str(&format!(
            " (the sandbox's limit of {} processes and threads was reached)",
            limits.pids
        ));
    }
    Verdict {
        outcome: if out_of_memory {
            Outcome::OutOfMemory
        } else {
            Outcome::Threw
        },
        result: None,
        error: Some(error),
        reusable: reusable && !out_of_memory && !out_of_pids,
    }
}

fn judge_exit(exit: Exit, limits: &Limits, stderr_tail: &[u8]) -> Verdict {
    let heap_exhausted = exit.code > SIGNALLED && contains(stderr_tail, b"heap out of memory");
    if exit.oom_killed || heap_exhausted {
        return verdict::out_of_memory(limits.memory);
    }
    match exit.code {
        CHANNEL_CLOSED => failed(
            Outcome::Threw,
            "ChannelClosed",
            "the code closed its output channel",
        ),
        code if code == SIGNALLED + SIGKILL => verdict::killed(),
        code if code > SIGNALLED => verdict::ended_by_signal(code - SIGNALLED),
        code => exited_with(code),
    }
}

fn exited_with(code: i64) -> Verdict {
    failed(
        Outcome::Threw,
        "ProcessEnded",
        format!("the code ended its process with exit code {code}"),
    )
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(2),
        memory: ByteSize(512 << 20),
        pids: 128,
        max_output_bytes: 20,
    };

    fn frame(kind: Kind, payload: &'static str) -> Ending {
        Ending::Frame(Frame {
            kind,
            stderr_marked: false,
            payload: Some(payload.into()),
        })
    }

    fn told(ending: Ending) -> (Outcome, String, bool) {
        let verdict = judge(ending, &LIMITS, b"");
        (
            verdict.outcome,
            verdict.error.unwrap_or_default().message,
            verdict.reusable,
        )
    }

    fn exit(code: i64, oom_killed: bool) -> Ending {
        Ending::Exited(Exit { code, oom_killed })
    }

    #[test]
    fn a_result_is_ok_and_leaves_the_sandbox_as_it_was() {
        let verdict = judge(frame(Kind::Result, "[1]"), &LIMITS, b"");
        assert_eq!(verdict.outcome, Outcome::Ok);
        assert_eq!(verdict.result.as_deref(), Some(&b"[1]"[..]));
        assert!(verdict.reusable);
    }

    #[test]
    fn a_forged_result_that_is_not_json_or_too_large_is_invalid_output() {
        assert_eq!(told(frame(Kind::Result, "nonsense")).0, Outcome::InvalidOutput);
        let (outcome, message, _) = told(frame(Kind::Result, "\"123456789012345678901\""));
        assert_eq!(outcome, Outcome::InvalidOutput);
        assert!(message.contains("20 bytes"), "{message}");
    }

    #[test]
    fn a_throw_carries_the_codes_own_error() {
        let json =
            r#"{"name":"TypeError","message":"x is not a function","stack":"at run","code":"","oomKills":0}"#;
        let verdict = judge(frame(Kind::Threw, json), &LIMITS, b"");
        assert_eq!(verdict.outcome, Outcome::Threw);
        assert_eq!(verdict.error.unwrap().name, "TypeError");
        assert!(verdict.reusable);
    }

    #[test]
    fn after_an_uncaught_error_the_sandbox_is_not_used_again() {
        let json = r#"{"name":"Error","message":"late"}"#;
        assert_eq!(
            told(frame(Kind::Uncaught, json)),
            (Outcome::Threw, "late".into(), false)
        );
    }

    #[test]
    fn a_childs_end_for_want_of_memory_is_told_as_that() {
        let json = r#"{"name":"Error","message":"child failed","oomKills":1}"#;
        let (outcome, message, reusable) = told(frame(Kind::Threw, json));
        assert_eq!((outcome, reusable), (Outcome::OutOfMemory, false));
        assert!(
            message.contains("512m") && message.ends_with("child failed"),
            "{message}"
        );
    }

    #[test]
    fn a_refused_process_names_the_limit() {
        let json = r#"{"name":"Error","message":"spawn sh EAGAIN","code":"EAGAIN"}"#;
        let (outcome, message, _) = told(frame(Kind::Uncaught, json));
        assert_eq!(outcome, Outcome::Threw);
        assert!(message.contains("limit of 128 processes"), "{message}");
    }

    #[test]
    fn an_exit_says_its_code() {
        let message = "the code ended its process with exit code 3".to_owned();
        let by_frame = told(frame(Kind::Exited, r#"{"exitCode":3}"#));
        assert_eq!(by_frame, (Outcome::Threw, message.clone(), false));
        assert_eq!(told(exit(3, false)), (Outcome::Threw, message, false));
        assert_eq!(told(exit(77, false)).1, "the code closed its output channel");
        assert_eq!(
            told(exit(139, false)).1,
            "the code's process was ended by signal 11"
        );
    }

    #[test]
    fn memory_is_told_apart_from_a_plain_exit() {
        assert_eq!(told(exit(137, true)).0, Outcome::OutOfMemory);
        assert_eq!(told(exit(137, false)).0, Outcome::Interrupted);
        assert_eq!(told(exit(134, false)).0, Outcome::Threw);
        let stderr = b"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n";
        let aborted = Exit {
            code: 134,
            oom_killed: false,
        };
        assert_eq!(
            judge(Ending::Exited(aborted), &LIMITS, stderr).outcome,
            Outcome::OutOfMemory
        );
    }

    #[test]
    fn the_executors_own_ends() {
        assert_eq!(
            told(Ending::Deadline),
            (
                Outcome::TimedOut,
                "the call took longer than 2000 ms".into(),
                false
            )
        );
        assert_eq!(told(Ending::Cancelled).0, Outcome::Cancelled);
        assert_eq!(
            told(Ending::Lost("gone".into())),
            (Outcome::Interrupted, "gone".into(), false)
        );
    }
}
