//! Between the callers, who must not wait for a disk, and the one thread that seals and writes.
//!
//! ```text
//! push ──room──▶ buffer ──▶ writer thread ──▶ file
//!   └──none──▶ wait a moment for room ──still none──▶ lost: counted, degraded, told in the file
//! ```
//!
//! With [`OnLoss::Block`] the opening line of an entry is waited for until it is in the file, and refused where it can't
//! get there; what closes an entry goes the way above.
//!
//! A thread, not a task: it must go on writing while a shutdown ends every task, and a push that waits for it may block
//! the runtime's own threads.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::readiness::Readiness;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::OnLoss;
use super::chain::{ChainHead, Hex128};
use super::jsonl::JsonlFile;
use super::record::Record;
use crate::metric_names;

/// Some ten thousand lines.
const MAX_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// How long a caller waits for a writer that is behind, before its line is lost.
const MAX_PUSH_WAIT: Duration = Duration::from_millis(500);
/// The writer rests this long after a batch: under load the lines of many calls share one write and no caller pays for
/// waking it.
const LINGER: Duration = Duration::from_millis(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// A writer that is closing gives up after so many failed attempts.
const ATTEMPTS_WHEN_CLOSING: u32 = 3;
/// How long an opening line is waited for before its action is refused.
const OPENING_DEADLINE: Duration = Duration::from_secs(2);
const PART: &str = "audit";

/// The entry of an action can't be kept, so the action must not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit log can't be written right now, and nothing may happen without it (MCP_AUDIT_ON_LOSS); try again shortly"
)]
pub struct Unaudited;

impl Unaudited {
    /// Its short name.
    pub const REASON: &str = "unaudited";
}

/// How far the log is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) log: Hex128,
    pub(super) chain: Hex128,
    pub(super) head: ChainHead,
    pub(super) at: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to write, or nothing will come any more.
    work: Condvar,
    /// The buffer was taken, or waiting for that is in vain.
    room: Condvar,
    progress: watch::Sender<Progress>,
    reached: watch::Sender<Option<Reached>>,
    readiness: Readiness,
    max_bytes: usize,
    on_loss: OnLoss,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// Bytes ever put into the buffer.
    pushed: u64,
    lost_lines: u64,
    writer_sleeps: bool,
    /// The disk does not take lines at the moment, so there is no point in waiting for room.
    failing: bool,
    closing: bool,
}

/// How far the writer must come for an opening line to be in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited(u64);

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Bytes of the buffer that are in the file, or given up.
    done: u64,
    given_up: bool,
    /// The last attempt to write failed.
    failing: bool,
    ended: bool,
}

impl Queue {
    pub(super) fn start(
        file: JsonlFile,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
        on_loss: OnLoss,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::new(readiness, MAX_BUFFER_BYTES, on_loss));
        let writer = Writer {
            queue: Arc::clone(&queue),
            file,
            clock,
        };
        // Detached: `close` waits for its last word instead of for the thread.
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())?;
        Ok(queue)
    }

    fn new(readiness: Readiness, max_bytes: usize, on_loss: OnLoss) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            reached: watch::Sender::new(None),
            readiness,
            max_bytes,
            on_loss,
        }
    }

    /// The opening line of an action that begins once [`Self::kept`] has answered, or not at all.
    pub(super) fn push_opening(&self, line: &[u8]) -> Result<Awaited, Unaudited> {
        if self.on_loss == OnLoss::Continue {
            self.push(line);
            return Ok(Awaited(0));
        }
        let mut state = self.state.lock();
        if state.failing || state.closing || state.buffer.len() + line.len() > self.max_bytes {
            drop(state);
            return Err(refused());
        }
        self.add(&mut state, line);
        Ok(Awaited(state.pushed))
    }

    pub(super) async fn kept(&self, Awaited(target): Awaited) -> Result<(), Unaudited> {
        if target == 0 {
            return Ok(());
        }
        let settled = |progress: &Progress| progress.done >= target || progress.failing || progress.ended;
        let mut progress = self.progress.subscribe();
        match tokio::time::timeout(OPENING_DEADLINE, progress.wait_for(settled)).await {
            Ok(Ok(progress)) if progress.done >= target => Ok(()),
            _ => Err(refused()),
        }
    }

    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.buffer.len() + line.len() > self.max_bytes && !state.failing {
            let deadline = Instant::now() + MAX_PUSH_WAIT;
            self.room.wait_while_until(
                &mut state,
                |state| state.buffer.len() + line.len() > self.max_bytes && !state.failing,
                deadline,
            );
        }
        if state.closing || state.buffer.len() + line.len() > self.max_bytes {
            state.lost_lines += 1;
            // From now on nobody waits, until the writer has made room again.
            state.failing = true;
            drop(state);
            self.report_lost(1);
            return;
        }
        self.add(&mut state, line);
    }

    /// A line about the log itself; none is due any more when it is being closed.
    pub(super) fn push_record(&self, line: &[u8]) {
        if !self.state.lock().closing {
            self.push(line);
        }
    }

    fn add(&self, state: &mut State, line: &[u8]) {
        state.buffer.extend_from_slice(line);
        state.pushed += line.len() as u64;
        if state.writer_sleeps {
            state.writer_sleeps = false;
            self.work.notify_one();
        }
    }

    /// Tells whenever lines were written.
    pub(super) fn reached(&self) -> watch::Receiver<Option<Reached>> {
        self.reached.subscribe()
    }

    pub(super) async fn flush(&self) -> bool {
        let target = self.state.lock().pushed;
        self.wait_for(|progress| progress.done >= target || progress.ended)
            .await
    }

    pub(super) async fn close(&self) -> bool {
        self.state.lock().closing = true;
        self.work.notify_one();
        self.wait_for(|progress| progress.ended).await
    }

    async fn wait_for(&self, reached: impl FnMut(&Progress) -> bool) -> bool {
        let mut progress = self.progress.subscribe();
        match tokio::time::timeout(FLUSH_DEADLINE, progress.wait_for(reached)).await {
            Ok(Ok(progress)) => !progress.given_up,
            _ => false,
        }
    }

    fn report_lost(&self, lines: u64) {
        metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "lost").increment(lines);
        if self
            .readiness
            .degrade(PART, "audit lines are being lost: the disk does not keep up")
        {
            tracing::error!("audit lines are being lost: the disk does not keep up, or the log is closed");
        }
    }

    fn report_fault(&self, error: &io::Error) {
        metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "write").increment(1);
        if self
            .readiness
            .degrade(PART, format!("the audit file can't be written: {error}"))
        {
            tracing::error!(%error, "the audit file can't be written; trying again");
        }
        self.state.lock().failing = true;
        self.room.notify_all();
        self.progress.send_modify(|progress| progress.failing = true);
    }

    fn report_recovery(&self) {
        if self.readiness.restore(PART) {
            tracing::info!("the audit file is written again");
        }
    }
}

fn refused() -> Unaudited {
    metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "refused").increment(1);
    Unaudited
}

struct Writer {
    queue: Arc<Queue>,
    file: JsonlFile,
    clock: Arc<dyn Clock>,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        // The chain begins, whether anything happens or not.
        let mut given_up = !self.write(&batch);
        while self.next_batch(&mut batch) {
            let bytes = batch.len() as u64;
            given_up |= !self.write(&batch);
            batch.clear();
            self.queue.progress.send_modify(|progress| {
                progress.done += bytes;
                progress.given_up = given_up;
                progress.failing = false;
            });
            if self.queue.on_loss == OnLoss::Continue {
                thread::sleep(LINGER);
            }
        }
        if let Err(error) = self.end() {
            self.queue.report_fault(&error);
            given_up = true;
        }
        self.queue.progress.send_modify(|progress| {
            progress.given_up = given_up;
            progress.ended = true;
        });
    }

    fn end(&mut self) -> io::Result<()> {
        self.tell_losses()?;
        let ended = Record::Ended {}.to_line(self.clock.now());
        self.file.append(&mut ended.as_slice())?;
        self.publish();
        self.file.sync()
    }

    fn publish(&self) {
        let (chain, head) = self.file.chain();
        if let Some(log) = self.file.log() {
            let at = self.clock.now();
            let reached = Reached { log, chain, head, at };
            self.queue.reached.send_replace(Some(reached));
        }
    }

    /// Waits for lines and swaps them for the empty `batch`. False when the log is closed and empty.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.queue.state.lock();
        while state.buffer.is_empty() && !state.closing {
            state.writer_sleeps = true;
            self.queue.work.wait(&mut state);
        }
        state.writer_sleeps = false;
        std::mem::swap(&mut state.buffer, batch);
        self.queue.room.notify_all();
        !batch.is_empty()
    }

    /// Tries until it is written; gives up only when the log is being closed.
    fn write(&mut self, batch: &[u8]) -> bool {
        let mut rest = batch;
        let mut pause = FIRST_RETRY;
        let mut attempts = 0;
        loop {
            match self.file.append(&mut rest).and_then(|()| self.tell_losses()) {
                Ok(()) => {
                    self.queue.report_recovery();
                    self.publish();
                    return true;
                }
                Err(error) => self.queue.report_fault(&error),
            }
            attempts += 1;
            if self.is_closing() && attempts >= ATTEMPTS_WHEN_CLOSING {
                let lines = rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
                self.queue.report_lost(lines);
                self.queue.state.lock().lost_lines += lines;
                return false;
            }
            thread::sleep(if self.is_closing() { FIRST_RETRY } else { pause });
            pause = (pause * 2).min(LAST_RETRY);
            // What is wrong may be the open file itself; an error shows again with the next attempt.
            let _retried_anyway = self.file.reopen();
        }
    }

    /// Writes how many lines are missing, and ends the time in which nobody waited.
    fn tell_losses(&mut self) -> io::Result<()> {
        let lost = {
            let mut state = self.queue.state.lock();
            state.failing = false;
            state.lost_lines
        };
        if lost > 0 {
            let record = Record::Lost { lines: lost }.to_line(self.clock.now());
            self.file.append(&mut record.as_slice())?;
            self.queue.state.lock().lost_lines -= lost;
        }
        Ok(())
    }

    fn is_closing(&self) -> bool {
        self.queue.state.lock().closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_stays_full_loses_lines_and_says_so() {
        let readiness = Readiness::default();
        let queue = Queue::new(readiness.clone(), 10, OnLoss::Continue);
        queue.push(b"12345678\n");
        let before = Instant::now();
        queue.push(b"lost\n");
        assert!(before.elapsed() >= MAX_PUSH_WAIT, "it waits for room first");
        let before = Instant::now();
        queue.push(b"lost\n");
        assert!(
            before.elapsed() < MAX_PUSH_WAIT,
            "the next one does not wait again"
        );
        assert_eq!(queue.state.lock().lost_lines, 2);
        assert!(readiness.report().degraded.contains_key(PART));
    }

    #[test]
    fn a_caller_waits_for_a_writer_that_is_behind() {
        let queue = Arc::new(Queue::new(Readiness::default(), 10, OnLoss::Continue));
        queue.push(b"12345678\n");
        let writer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                queue.state.lock().buffer.clear();
                queue.room.notify_all();
            })
        };
        queue.push(b"kept\n");
        writer.join().unwrap();
        let state = queue.state.lock();
        assert_eq!(
            (state.buffer.as_slice(), state.lost_lines),
            (b"kept\n".as_slice(), 0)
        );
    }
}
