//! What a caller is told of a call that ended, in the words that all engines share. Pure.

use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_shared::job::ToolError;
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::outcome::Outcome;

/// Of a result: most readers of JSON stop at 128, and the answer to the client has levels around it.
const MAX_NESTING: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub result: Option<Bytes>,
    pub error: Option<ToolError>,
    /// Whether the process is as it was before the call.
    pub reusable: bool,
}

/// Whoever says that this is a result may be the code itself, so it may be anything.
pub fn of_result(payload: Bytes, max_bytes: u64) -> Verdict {
    if payload.len() as u64 > max_bytes {
        return result_too_large(max_bytes);
    }
    // A reader that throws strings away doesn't look whether they are text.
    let text = std::str::from_utf8(&payload);
    if !text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()) {
        return failed(Outcome::InvalidOutput, "InvalidOutput", "the result is not JSON");
    }
    let nesting = nesting(&payload);
    if nesting > MAX_NESTING {
        let message =
            format!("the result is nested {nesting} levels deep; at most {MAX_NESTING} are allowed");
        return failed(Outcome::InvalidOutput, "InvalidOutput", message);
    }
    Verdict {
        outcome: Outcome::Ok,
        result: Some(payload),
        error: None,
        reusable: true,
    }
}

/// How many arrays and objects of valid JSON are open at once.
fn nesting(json: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

pub fn result_too_large(max_bytes: u64) -> Verdict {
    failed(
        Outcome::InvalidOutput,
        "InvalidOutput",
        format!(
            "the result is more than the {max_bytes} bytes that are allowed (MCP_SANDBOX_MAX_OUTPUT_BYTES)"
        ),
    )
}

pub fn invalid_output(why: impl Into<String>) -> Verdict {
    Verdict {
        reusable: true,
        ..failed(Outcome::InvalidOutput, "InvalidOutput", why)
    }
}

pub fn timed_out(after: Duration) -> Verdict {
    let message = format!("the call took longer than {} ms", after.as_millis());
    failed(Outcome::TimedOut, "TimedOut", message)
}

pub fn cancelled() -> Verdict {
    failed(Outcome::Cancelled, "Cancelled", "the call was cancelled")
}

pub fn out_of_memory(limit: ByteSize) -> Verdict {
    let message = format!("the code needed more than its memory limit of {limit}");
    failed(Outcome::OutOfMemory, "OutOfMemory", message)
}

pub fn never_settled() -> Verdict {
    failed(
        Outcome::Threw,
        "NeverSettled",
        "the promise that run returned never settles: nothing is left to wait for",
    )
}

pub fn interrupted(why: impl Into<String>) -> Verdict {
    failed(Outcome::Interrupted, "Interrupted", why)
}

pub fn killed() -> Verdict {
    interrupted("the sandbox was killed, by its code or from outside")
}

pub fn broke_protocol() -> Verdict {
    interrupted("the sandbox broke its protocol")
}

pub fn ended_by_signal(signal: i64) -> Verdict {
    let message = format!("the code's process was ended by signal {signal}");
    failed(Outcome::Threw, "ProcessEnded", message)
}

/// An end without a result, in a sandbox that is not to be used again.
pub fn failed(outcome: Outcome, name: &str, message: impl Into<String>) -> Verdict {
    Verdict {
        outcome,
        result: None,
        error: Some(ToolError::new(name, message)),
        reusable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_json_text() {
        let outcome = |bytes: &'static [u8]| of_result(bytes.into(), 100).outcome;
        assert_eq!(outcome("\"ü\"".as_bytes()), Outcome::Ok);
        assert_eq!(outcome(b"\"\xff\xfe\""), Outcome::InvalidOutput);
        assert_eq!(outcome(b"{\"a\":"), Outcome::InvalidOutput);
    }

    #[test]
    fn a_result_is_refused_for_its_depth_only_when_it_is_deep() {
        assert_eq!(nesting(br#"{"a[[[":[1,"\"]]}",{}],"b":[]}"#), 3);
        let deep = |levels: usize| Bytes::from(format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        assert_eq!(of_result(deep(MAX_NESTING), 1_000).outcome, Outcome::Ok);
        let refused = of_result(deep(MAX_NESTING + 1), 1_000);
        assert_eq!(refused.outcome, Outcome::InvalidOutput);
        assert!(refused.error.unwrap().message.contains("101 levels"));
    }
}
