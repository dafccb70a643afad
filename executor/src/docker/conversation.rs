//! One call of a runner, wherever its process is: what is written to it, and what it says until its last word.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_shared::job::JobEvent;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frames::{Frame, FrameParser, Kind, Nonce};
use super::outcome::{Ending, Exit};
use crate::capture::{Capture, Stream};
use crate::progress;

/// For the end mark of stderr after the last frame: both were written before either was read.
const STDERR_MARK: Duration = Duration::from_secs(1);
/// A frame may be a little larger than the result that it carries: an error has a message and a stack.
const FRAME_SLACK: usize = 128 * 1024;

/// The three streams of a runner's process.
pub(crate) trait Channel: Send {
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    fn next(&mut self) -> impl Future<Output = Said> + Send;

    /// How a process whose streams have ended has ended itself.
    fn exit(&mut self) -> impl Future<Output = Result<Exit, String>> + Send;
}

/// A piece of what the process of a runner says.
pub(crate) enum Said {
    Printed(Stream, Bytes),
    Closed,
}

pub(crate) struct Conversation {
    pub(crate) nonce: Nonce,
    stdout: FrameParser,
    stderr: FrameParser,
    stderr_ended: bool,
    pub(crate) capture: Capture,
    events: mpsc::Sender<JobEvent>,
}

impl Conversation {
    /// `max_output_bytes`: of the result, and of what is printed.
    pub(crate) fn new(max_output_bytes: u64, events: mpsc::Sender<JobEvent>) -> Self {
        let nonce = Nonce::fresh();
        let result = usize::try_from(max_output_bytes).unwrap_or(usize::MAX);
        Self {
            stdout: FrameParser::new(&nonce, result.saturating_add(FRAME_SLACK)),
            stderr: FrameParser::new(&nonce, 0),
            stderr_ended: false,
            nonce,
            capture: Capture::new(max_output_bytes),
            events,
        }
    }

    pub(crate) async fn hold(&mut self, script: &mut impl Channel, message: &[u8]) -> Ending {
        // The runner reads a whole call before it runs anything, so writing first can't lock up. A write that fails
        // is an end that the streams tell more about.
        let _ = script.write(message).await;
        loop {
            match script.next().await {
                Said::Closed => return self.closed(script).await,
                Said::Printed(Stream::Stderr, bytes) => self.on_stderr(&bytes),
                Said::Printed(Stream::Stdout, bytes) => {
                    if let Some((last, marked)) = self.on_stdout(&bytes) {
                        if marked {
                            self.read_to_stderr_mark(script).await;
                        }
                        return Ending::Frame(last);
                    }
                }
            }
        }
    }

    fn on_stdout(&mut self, bytes: &[u8]) -> Option<(Frame, bool)> {
        let capture = &mut self.capture;
        let frames = self.stdout.feed(bytes, |out| capture.push(Stream::Stdout, out));
        for frame in frames {
            match frame.kind {
                Kind::Progress => progress::pass_on(&frame.payload.unwrap_or_default(), &self.events),
                Kind::Ready | Kind::StderrEnd => {}
                _ => {
                    let marked = frame.stderr_marked && !self.stderr_ended;
                    return Some((frame, marked));
                }
            }
        }
        None
    }

    fn on_stderr(&mut self, bytes: &[u8]) {
        let capture = &mut self.capture;
        let frames = self.stderr.feed(bytes, |out| capture.push(Stream::Stderr, out));
        self.stderr_ended |= frames.iter().any(|frame| frame.kind == Kind::StderrEnd);
    }

    /// The Engine carries the two streams side by side, so what was printed first may come last.
    async fn read_to_stderr_mark(&mut self, script: &mut impl Channel) {
        let mark = async {
            while !self.stderr_ended {
                match script.next().await {
                    Said::Closed => return,
                    Said::Printed(Stream::Stderr, bytes) => self.on_stderr(&bytes),
                    Said::Printed(Stream::Stdout, _) => {}
                }
            }
        };
        // Without it the call has ended all the same.
        let _ = timeout(STDERR_MARK, mark).await;
    }

    async fn closed(&mut self, script: &mut impl Channel) -> Ending {
        let capture = &mut self.capture;
        self.stdout.finish(|out| capture.push(Stream::Stdout, out));
        self.stderr.finish(|out| capture.push(Stream::Stderr, out));
        match script.exit().await {
            Ok(exit) => Ending::Exited(exit),
            Err(why) => Ending::Lost(format!("the sandbox was lost: {why}")),
        }
    }
}

/// The line that begins a call, see `runner.cjs`. `code` is `None` when the runner has it already.
pub(crate) fn call_header(
    nonce: &Nonce,
    code: Option<usize>,
    args: usize,
    max_output: u64,
    once: bool,
) -> String {
    let nonce = nonce.as_str();
    let code = code.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
    format!(
        "{{\"nonce\":\"{nonce}\",\"code\":{code},\"args\":{args},\"max\":{max_output},\"once\":{once}}}\n"
    )
}
