//! What commands print and how they end: kept within its cap, told as it comes, and written down as their caller reads it.

use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_shared::job::{JobEvent, Output, OutputStream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frames::{Frame, Word};
use crate::capture::{Capture, Stream};

/// What stands for output that later commands took the room of.
const FORGOTTEN: &str = "[... of this command nothing is kept: later ones printed too much ...]\n";
/// Characters that are kept of such a command itself.
const FORGOTTEN_COMMAND: usize = 1_000;

/// One command as its caller reads of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub command: String,
    /// Both are absent while it runs, and when it could not begin.
    pub exit_code: Option<i32>,
    pub signal: Option<String>,
    pub stdout: String,
    pub stderr: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub stdout_truncated_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub stderr_truncated_bytes: u64,
    pub duration_ms: u64,
    #[serde(skip_serializing_if = "is_false")]
    pub timed_out: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub killed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub out_of_memory: bool,
}

/// Why a command was ended that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    TimedOut,
    Killed,
}

/// All that the commands of one job print and how they end, while they run and afterwards.
#[derive(Debug)]
pub(super) struct Transcript {
    each: u64,
    written: Mutex<Written>,
    listener: Option<mpsc::Sender<JobEvent>>,
}

#[derive(Debug)]
struct Written {
    ended: Vec<Report>,
    current: Option<Current>,
    /// Of all commands together.
    whole: Capture,
}

#[derive(Debug)]
struct Current {
    command: String,
    began: Instant,
    capture: Capture,
    /// What comes after a gap is the end of it, and no news.
    live: bool,
    left_to_tell: u64,
}

/// How the agent says that a process ended; it may be the process itself that says so.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Exit {
    pub code: Option<i32>,
    pub signal: Option<String>,
    /// The kernel has ended something in the sandbox for memory meanwhile.
    pub oom: bool,
    /// What could not be done afterwards.
    pub problem: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    stream: String,
    bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Unable {
    message: String,
}

impl Exit {
    pub(super) fn read(frame: &Frame) -> Self {
        let mut exit: Self = serde_json::from_slice(&frame.payload).unwrap_or_default();
        // A name such as SIGKILL; what is longer is none.
        exit.signal = exit.signal.filter(|signal| signal.len() <= 16);
        exit
    }
}

pub(super) fn unable(frame: &Frame) -> String {
    let told: Unable = serde_json::from_slice(&frame.payload).unwrap_or_default();
    told.message.chars().take(1_000).collect()
}

impl Transcript {
    /// `each` and `whole`: bytes that are kept of one command, and of all together.
    pub(super) fn new(each: u64, whole: u64, listener: Option<mpsc::Sender<JobEvent>>) -> Self {
        Self {
            each,
            written: Mutex::new(Written {
                ended: Vec::new(),
                current: None,
                whole: Capture::new(whole),
            }),
            listener,
        }
    }

    pub(super) fn begin(&self, command: &str) {
        self.written.lock().current = Some(Current {
            command: command.to_owned(),
            began: Instant::now(),
            capture: Capture::new(self.each),
            live: true,
            left_to_tell: self.each,
        });
    }

    /// Takes what is output, and nothing else.
    pub(super) fn hear(&self, frame: &Frame) {
        match frame.word {
            Word::Stdout => self.push(Stream::Stdout, &frame.payload),
            Word::Stderr => self.push(Stream::Stderr, &frame.payload),
            Word::Gap => {
                if let Ok(Gap { stream, bytes }) = serde_json::from_slice(&frame.payload) {
                    let stream = if stream == "r" {
                        Stream::Stderr
                    } else {
                        Stream::Stdout
                    };
                    self.skip(stream, bytes);
                }
            }
            _ => {}
        }
    }

    fn push(&self, stream: Stream, bytes: &Bytes) {
        let mut written = self.written.lock();
        let command = u32::try_from(written.ended.len()).unwrap_or(u32::MAX);
        written.whole.push(stream, bytes);
        let Some(current) = &mut written.current else {
            return;
        };
        current.capture.push(stream, bytes);
        let told = bytes.len() as u64;
        if !current.live || current.left_to_tell < told {
            current.live = false;
            return;
        }
        current.left_to_tell -= told;
        if let Some(listener) = &self.listener {
            let stream = match stream {
                Stream::Stdout => OutputStream::Stdout,
                Stream::Stderr => OutputStream::Stderr,
            };
            let data = bytes.clone();
            // A slow listener misses it; the end holds it again.
            let _missed = listener.try_send(JobEvent::Output(Output {
                stream,
                data,
                command,
            }));
        }
    }

    fn skip(&self, stream: Stream, bytes: u64) {
        let mut written = self.written.lock();
        written.whole.skip(stream, bytes);
        if let Some(current) = &mut written.current {
            current.capture.skip(stream, bytes);
            current.live = false;
        }
    }

    /// The current command has ended. Answers whether it went well.
    pub(super) fn end(&self, exit: Exit, cut: Option<Cut>) -> bool {
        let mut written = self.written.lock();
        let Some(current) = written.current.take() else {
            return false;
        };
        let mut report = current.report();
        let well = exit.code == Some(0) && cut.is_none();
        report.out_of_memory = exit.oom && !well;
        (report.exit_code, report.signal) = (exit.code, exit.signal);
        report.timed_out = cut == Some(Cut::TimedOut);
        report.killed = cut == Some(Cut::Killed);
        written.ended.push(report);
        well
    }

    /// The current command could not begin.
    pub(super) fn could_not_begin(&self, why: &str) {
        let mut written = self.written.lock();
        if let Some(current) = written.current.take() {
            let mut report = current.report();
            report.stderr = format!("the command could not begin: {why}");
            written.ended.push(report);
        }
    }

    /// One for each command that has begun, in order.
    pub(super) fn reports(&self) -> Vec<Report> {
        let written = self.written.lock();
        let current = written.current.as_ref().map(Current::report);
        written.ended.iter().cloned().chain(current).collect()
    }

    /// What the commands that have ended take of memory.
    pub(super) fn bytes(&self) -> usize {
        self.written.lock().ended.iter().map(Report::bytes).sum()
    }

    /// Of the commands that have ended only how they did is kept.
    pub(super) fn forget_output(&self) {
        self.written
            .lock()
            .ended
            .iter_mut()
            .for_each(Report::forget_output);
    }

    /// Stdout and stderr of all commands together.
    pub(super) fn whole(&self) -> Capture {
        self.written.lock().whole.clone()
    }
}

impl Report {
    fn bytes(&self) -> usize {
        self.command.len() + self.stdout.len() + self.stderr.len()
    }

    fn forget_output(&mut self) {
        let streams = [
            (&mut self.stdout, &mut self.stdout_truncated_bytes),
            (&mut self.stderr, &mut self.stderr_truncated_bytes),
        ];
        for (text, left_out) in streams {
            if text.len() > FORGOTTEN.len() {
                *left_out += text.len() as u64;
                FORGOTTEN.clone_into(text);
                text.shrink_to_fit();
            }
        }
        if let Some((end, _)) = self.command.char_indices().nth(FORGOTTEN_COMMAND) {
            self.command.truncate(end);
            self.command.push_str(" [...]");
            self.command.shrink_to_fit();
        }
    }
}

impl Current {
    fn report(&self) -> Report {
        let (stdout, stderr) = self.capture.clone().finish();
        Report {
            command: self.command.clone(),
            exit_code: None,
            signal: None,
            stdout: stdout.to_text(),
            stderr: stderr.to_text(),
            stdout_truncated_bytes: stdout.omitted_bytes(),
            stderr_truncated_bytes: stderr.omitted_bytes(),
            duration_ms: millis(self.began.elapsed()),
            timed_out: false,
            killed: false,
            out_of_memory: false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(word: Word, payload: &str) -> Frame {
        Frame {
            word,
            id: 1,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_and_what_is_kept_both_end_at_the_cap() {
        let (events, mut heard) = mpsc::channel(8);
        let transcript = Transcript::new(8, 8, Some(events));
        transcript.begin("seq");
        transcript.hear(&frame(Word::Stdout, "12345678"));
        transcript.hear(&frame(Word::Gap, r#"{"stream":"o","bytes":90}"#));
        transcript.hear(&frame(Word::Stdout, "wxyz"));
        assert!(transcript.end(Exit::read(&frame(Word::Exited, r#"{"code":0}"#)), None));
        assert!(
            matches!(heard.recv().await, Some(JobEvent::Output(output)) if &output.data[..] == b"12345678")
        );
        let written = json!(transcript.reports());
        assert_eq!(
            written,
            json!([{
                "command": "seq", "exitCode": 0, "signal": null, "stderr": "", "durationMs": 0,
                "stdout": "1234\n[... 94 of 102 bytes left out ...]\nwxyz", "stdoutTruncatedBytes": 94,
            }])
        );
        drop(transcript);
        assert_eq!(heard.recv().await, None);
    }

    #[test]
    fn an_exit_that_makes_no_sense_is_one_without_a_code() {
        let transcript = Transcript::new(8, 8, None);
        transcript.begin("x");
        assert!(!transcript.end(Exit::read(&frame(Word::Exited, "[]")), None));
        assert_eq!(transcript.reports()[0].exit_code, None);
    }
}
