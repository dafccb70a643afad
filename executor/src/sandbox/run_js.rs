//! Code in a session: a runner of its own in a fresh process, with the session's workspace as its folder.

use std::io;
use std::str::FromStr as _;
use std::sync::Arc;

use bytes::Bytes;
use dynamic_mcp_shared::job::{Job, JobEvent};
use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::agent::Line;
use super::captured::{self, unable};
use super::frames::Word;
use super::path::WORKSPACE;
use super::session::Session;
use crate::capture::{Capture, Stream};
use crate::docker::conversation::{Channel, Conversation, Said, call_header};
use crate::docker::outcome::{Ending, Exit, Limits, judge};
use crate::docker::policy::heap_mib;
use crate::verdict::{self, Verdict};

/// What the agent is told to begin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    program: &'static str,
    /// In the workspace itself, so that what is next to it can be imported.
    module: String,
    heap_mib: u64,
    /// All that the process says is read: the runner's own words are among it.
    max: i64,
}

pub(super) async fn run(
    session: &Arc<Session>,
    job: &Job,
    args: &Bytes,
    deadline: Instant,
    events: mpsc::Sender<JobEvent>,
    cancel: &CancellationToken,
) -> (Verdict, Capture) {
    let limits = Limits {
        timeout: job.timeout.duration(),
        memory: session.memory,
        pids: session.pids,
        max_output_bytes: job.max_output_bytes,
    };
    let mut conversation = Conversation::new(job.max_output_bytes, events);
    let wanted = Wanted {
        program: "node",
        module: format!("{WORKSPACE}/.run-{}.mjs", job.id),
        heap_mib: heap_mib(session.memory),
        max: -1,
    };
    let mut script = match session.agent.start(&wanted).await {
        Ok(line) => Script { line, end: None },
        Err(lost) => return (verdict::interrupted(lost.to_string()), conversation.capture),
    };
    let message = message(&conversation, job, args);
    let ending = tokio::select! {
        // The first two before the conversation: one that always has something to say would starve them.
        biased;
        () = cancel.cancelled() => Ending::Cancelled,
        () = sleep_until(deadline) => Ending::Deadline,
        ending = conversation.hold(&mut script, &message) => ending,
    };
    // The result is the code's last word: what it left running ends with it.
    if script.end.is_none() {
        let _gone = script.line.kill(|_| {}).await;
    }
    let verdict = judge(ending, &limits, &conversation.capture.stderr_tail());
    (verdict, conversation.capture)
}

/// A greeting, and the one call of this runner.
fn message(conversation: &Conversation, job: &Job, args: &Bytes) -> Vec<u8> {
    let nonce = &conversation.nonce;
    let hello = call_header(nonce, None, 0, 0, false);
    let header = call_header(
        nonce,
        Some(job.code.len()),
        args.len(),
        job.max_output_bytes,
        true,
    );
    [hello.as_bytes(), header.as_bytes(), &job.code, args].concat()
}

struct Script {
    line: Line,
    end: Option<Result<Exit, String>>,
}

impl Channel for Script {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.line.input(bytes).await;
        taken.map_err(|lost| io::Error::other(lost.to_string()))
    }

    async fn next(&mut self) -> Said {
        loop {
            let frame = match self.line.next().await {
                Ok(frame) => frame,
                Err(lost) => {
                    self.end = Some(Err(lost.to_string()));
                    return Said::Closed;
                }
            };
            match frame.word {
                Word::Stdout => return Said::Printed(Stream::Stdout, frame.payload),
                Word::Stderr => return Said::Printed(Stream::Stderr, frame.payload),
                Word::Exited => {
                    self.end = Some(Ok(exit(&captured::Exit::read(&frame))));
                    return Said::Closed;
                }
                Word::Unable => {
                    self.end = Some(Err(unable(&frame)));
                    return Said::Closed;
                }
                _ => {}
            }
        }
    }

    async fn exit(&mut self) -> Result<Exit, String> {
        let unknown = || Err("nobody knows how it ended".to_owned());
        self.end.clone().unwrap_or_else(unknown)
    }
}

/// As a shell counts it.
fn exit(told: &captured::Exit) -> Exit {
    const SIGNALLED: i64 = 128;
    let signal = || {
        let name = told.signal.as_deref()?;
        Some(SIGNALLED + i64::from(Signal::from_str(name).ok()? as i32))
    };
    Exit {
        code: told.code.map(i64::from).or_else(signal).unwrap_or_default(),
        oom_killed: told.oom,
    }
}
