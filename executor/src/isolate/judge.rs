//! From the way a call ended to what its caller is told, and whether the child broke out of its rules. Pure.

use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_isolate::body;
use dynamic_mcp_isolate::frame::{self, Kind};
use dynamic_mcp_shared::job::ToolError;
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::outcome::Outcome;

use crate::verdict::{self, Verdict, failed};

const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGILL: i32 = 4;
const SIGSYS: i32 = 31;

#[derive(Debug)]
pub enum Ending {
    /// The last frame.
    Told(Kind, Bytes),
    /// The result was larger than allowed.
    TooLarge,
    /// The channel closed without a last frame; the wait status.
    Exited(i32),
    /// The child ended before it had read all of the call: nothing of it has run. The wait status, if there is one.
    Unheard(Option<i32>),
    Broken,
    /// Nobody can say any more how it ended.
    Lost(String),
    Deadline,
    Cancelled,
}

/// The limits that an error's text may name.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub timeout: Duration,
    pub memory: ByteSize,
    pub max_output_bytes: u64,
}

/// Whether the child did what no tool's code can: siblings may not share its memory's layout any longer.
pub fn is_breach(ending: &Ending) -> bool {
    match ending {
        Ending::Broken => true,
        Ending::Exited(status) | Ending::Unheard(Some(status)) => {
            matches!(signal(*status), SIGSYS | SIGSEGV | SIGBUS | SIGILL)
        }
        _ => false,
    }
}

pub fn judge(ending: Ending, limits: &Limits) -> Verdict {
    match ending {
        Ending::Told(kind, payload) => judge_frame(kind, payload, limits),
        Ending::TooLarge => verdict::result_too_large(limits.max_output_bytes),
        Ending::Exited(status) | Ending::Unheard(Some(status)) => judge_exit(status),
        Ending::Unheard(None) => verdict::interrupted("the sandbox was lost before it had read its call"),
        Ending::Broken => verdict::broke_protocol(),
        Ending::Lost(why) => verdict::interrupted(why),
        Ending::Cancelled => verdict::cancelled(),
        Ending::Deadline => verdict::timed_out(limits.timeout),
    }
}

fn judge_frame(kind: Kind, payload: Bytes, limits: &Limits) -> Verdict {
    match kind {
        Kind::Result => verdict::of_result(payload, limits.max_output_bytes),
        Kind::Threw => threw(&payload, true),
        Kind::Uncaught => threw(&payload, false),
        Kind::InvalidOutput => verdict::invalid_output(String::from_utf8_lossy(&payload)),
        Kind::NothingLeft => verdict::never_settled(),
        Kind::OutOfMemory => verdict::out_of_memory(limits.memory),
        Kind::Interrupted => verdict::timed_out(limits.timeout),
        Kind::Ready | Kind::Stdout | Kind::Stderr | Kind::Progress => verdict::broke_protocol(),
    }
}

fn threw(payload: &[u8], reusable: bool) -> Verdict {
    let [name, message, stack] = frame::read_error(payload);
    Verdict {
        outcome: Outcome::Threw,
        result: None,
        error: Some(ToolError { name, message, stack }),
        reusable,
    }
}

/// Of a wait status; 0 for an end by itself.
const fn signal(status: i32) -> i32 {
    status & 0x7f
}

fn judge_exit(status: i32) -> Verdict {
    match signal(status) {
        0 => {
            let code = (status >> 8) & 0xff;
            let done = body::Exit::Done.code();
            verdict::interrupted(if code == done {
                "the sandbox ended without a result".to_owned()
            } else {
                format!("the sandbox failed (exit code {code})")
            })
        }
        SIGKILL => verdict::killed(),
        SIGSYS => failed(
            Outcome::Threw,
            "SandboxViolation",
            "the code's process was ended: it made a system call that no sandbox may make",
        ),
        signal => verdict::ended_by_signal(signal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(2),
        memory: ByteSize(128 << 20),
        max_output_bytes: 20,
    };

    fn told(ending: Ending) -> (Outcome, String, bool) {
        let verdict = judge(ending, &LIMITS);
        let message = verdict.error.unwrap_or_default().message;
        (verdict.outcome, message, verdict.reusable)
    }

    #[test]
    fn a_result_is_checked_for_what_it_is() {
        let result = |json: &'static str| told(Ending::Told(Kind::Result, json.into()));
        assert_eq!(result("[1]").0, Outcome::Ok);
        assert_eq!(result("nonsense").0, Outcome::InvalidOutput);
        assert_eq!(result("\"123456789012345678901\"").0, Outcome::InvalidOutput);
        assert!(told(Ending::TooLarge).1.contains("20 bytes"));
    }

    #[test]
    fn a_throw_leaves_the_child_usable_unless_nobody_could_catch_it() {
        let error: Bytes = frame::write_error("TypeError", "no", "at run").into();
        let thrown = judge(Ending::Told(Kind::Threw, error.clone()), &LIMITS);
        assert_eq!(thrown.error.unwrap().name, "TypeError");
        assert!(thrown.reusable);
        assert!(!told(Ending::Told(Kind::Uncaught, error)).2);
    }

    #[test]
    fn a_forbidden_call_and_a_crash_are_breaches_and_a_kill_is_not() {
        for (status, breach, outcome) in [
            (SIGSYS, true, Outcome::Threw),
            (SIGSEGV | 0x80, true, Outcome::Threw),
            (SIGKILL, false, Outcome::Interrupted),
            (0, false, Outcome::Interrupted),
            (71 << 8, false, Outcome::Interrupted),
        ] {
            assert_eq!(is_breach(&Ending::Exited(status)), breach, "{status}");
            assert_eq!(told(Ending::Exited(status)).0, outcome, "{status}");
        }
        assert!(is_breach(&Ending::Broken));
        assert!(told(Ending::Exited(SIGSEGV)).1.contains("signal 11"));
    }

    #[test]
    fn ends_are_told_in_the_words_of_all_engines() {
        assert_eq!(
            told(Ending::Deadline),
            (
                Outcome::TimedOut,
                "the call took longer than 2000 ms".into(),
                false
            )
        );
        assert_eq!(
            told(Ending::Told(Kind::Interrupted, Bytes::new())).0,
            Outcome::TimedOut
        );
        assert_eq!(told(Ending::Cancelled).1, "the call was cancelled");
        let (outcome, message, _) = told(Ending::Told(Kind::OutOfMemory, Bytes::new()));
        assert_eq!(outcome, Outcome::OutOfMemory);
        assert!(message.contains("128m"), "{message}");
        assert_eq!(
            told(Ending::Told(Kind::Ready, Bytes::new())).0,
            Outcome::Interrupted
        );
    }
}
