//! The broker's side of one zygote: asks it for children, and hears how each ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child as Process, ChildStderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_isolate::control::{self, Answer, Request, Settings};
use dynamic_mcp_isolate::walls::{Finding, Tier, Wall};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::memory::MemoryGroup;
use super::spawner::Spawner;

/// From the start to the first word. Milliseconds, but for a machine that has much else to do.
const START: Duration = Duration::from_secs(15);
/// For a zygote to take a request from its socket, which has room for a thousand.
const SEND: Duration = Duration::from_secs(1);
/// Of what a zygote says on stderr: a panic at most.
const MAX_STDERR_BYTES: u64 = 16 << 10;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// As `wait` gives it.
    pub status: i32,
    pub max_rss_kib: u64,
}

/// A child that was asked for.
pub struct Birth {
    pub id: u64,
    pub ended: Ended,
    /// Whether it gives way to all others.
    pub gave_way: Arc<AtomicBool>,
}

/// How a child ended, or why there never was one. Dropped with its zygote.
pub type Ended = oneshot::Receiver<Result<Exit, io::Error>>;

#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    #[error("{0} could not be executed: {1}")]
    Execute(String, #[source] io::Error),
    #[error("the control socket failed")]
    Control(#[source] io::Error),
    #[error("the zygote did not start within {} s", START.as_secs())]
    Silent,
    #[error("the zygote ended before it was ready")]
    Ended,
    #[error("{why}")]
    Refused { wall: Wall, why: String },
}

/// Ends with the last of its children that somebody still holds.
pub struct Zygote {
    line: Arc<Line>,
    pub findings: Vec<Finding>,
    pub tier: Option<Tier>,
    born: Instant,
    children: AtomicU64,
    retired: AtomicBool,
    process: Mutex<Option<Process>>,
    spawner: Spawner,
}

/// What the reading task shares with the zygote, so that it doesn't keep it alive.
struct Line {
    /// It keeps messages apart, which a stream's own methods know nothing of; only its readiness is used.
    control: UnixStream,
    awaited: Mutex<HashMap<u64, Awaited>>,
    gone: watch::Sender<bool>,
    stop: CancellationToken,
}

/// What is still to be heard of one child.
struct Awaited {
    end: oneshot::Sender<Result<Exit, io::Error>>,
    gave_way: Arc<AtomicBool>,
}

impl Zygote {
    /// # Errors
    /// When it can't be started, or can't be what it should.
    pub async fn start(
        spawner: &Spawner,
        program: &str,
        settings: Settings,
        memory: Result<&MemoryGroup, &str>,
        tasks: &TaskTracker,
    ) -> Result<Self, ZygoteError> {
        let (ours, theirs) = control::pair().map_err(ZygoteError::Control)?;
        let control = UnixStream::from_std(ours.into()).map_err(ZygoteError::Control)?;
        let started = spawner.start(theirs).await;
        let mut process = started.map_err(|error| ZygoteError::Execute(program.to_owned(), error))?;
        // Before it is told anything, so that whatever it forks is in the group too.
        let grouped = memory
            .map_err(str::to_owned)
            .and_then(|group| group.enter(process.id()));
        if let Some(stderr) = process.stderr.take() {
            tasks.spawn(log(stderr));
        }
        let line = Arc::new(Line {
            control,
            awaited: Mutex::default(),
            gone: watch::Sender::new(false),
            stop: CancellationToken::new(),
        });
        let mut zygote = Self {
            line,
            findings: Vec::new(),
            tier: None,
            born: Instant::now(),
            children: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            process: Mutex::new(Some(process)),
            spawner: spawner.clone(),
        };
        let hello = async {
            zygote.line.send(&Request::Configure(settings), None).await?;
            zygote.line.answer().await
        };
        let answer = timeout(START, hello).await.map_err(|_| ZygoteError::Silent)?;
        match answer.map_err(ZygoteError::Control)? {
            Some(Answer::Hello { mut findings }) => {
                findings.push(Finding::new(Wall::MemoryGroup, grouped));
                zygote.tier = Tier::of(&findings);
                zygote.findings = findings;
            }
            Some(Answer::Refused { wall, why }) => return Err(ZygoteError::Refused { wall, why }),
            _ => return Err(ZygoteError::Ended),
        }
        let line = Arc::clone(&zygote.line);
        tasks.spawn(async move { line.listen().await });
        Ok(zygote)
    }

    /// Asks for a child with this end of a channel.
    ///
    /// # Errors
    /// When the zygote is gone, or takes nothing.
    pub async fn spawn(&self, channel: OwnedFd) -> io::Result<Birth> {
        let id = self.children.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let gave_way = Arc::new(AtomicBool::new(false));
        let awaited = Awaited {
            end,
            gave_way: Arc::clone(&gave_way),
        };
        self.line.awaited.lock().insert(id, awaited);
        if *self.line.gone.borrow() {
            self.line.awaited.lock().clear();
        }
        let sent = timeout(SEND, self.line.send(&Request::Spawn { id }, Some(&channel))).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => Ok(Birth { id, ended, gave_way }),
            Err(error) => {
                self.line.awaited.lock().remove(&id);
                Err(error)
            }
        }
    }

    /// A zygote that doesn't take it at once is dealt with by whoever waits for the child's end.
    pub fn kill_child(&self, id: u64) {
        self.line.tell(&Request::Kill { id });
    }

    /// From here on it is counted what the call of this child has of the processor.
    pub fn count_child(&self, id: u64) {
        self.line.tell(&Request::Count { id });
    }

    /// The child gives way to all others if its call is a long one; that is heard by [`Birth::gave_way`].
    pub fn weigh_child(&self, id: u64) {
        self.line.tell(&Request::Weigh { id });
    }

    /// Ends it now, and every child of it. `ended` is told when nothing is left.
    pub fn end(&self, ended: Option<oneshot::Sender<()>>) {
        self.retire();
        self.line.stop.cancel();
        if let Some(process) = self.process.lock().take() {
            self.spawner.end(process, ended);
        }
    }

    /// From now on it gets no new calls, and its idle children none either.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.is_gone()
    }

    pub fn is_gone(&self) -> bool {
        *self.line.gone.borrow()
    }

    pub fn gone(&self) -> watch::Receiver<bool> {
        self.line.gone.subscribe()
    }

    /// How many children it was asked for.
    pub fn children(&self) -> u64 {
        self.children.load(Ordering::Relaxed)
    }

    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Line {
    async fn send(&self, request: &Request, channel: Option<&OwnedFd>) -> io::Result<()> {
        let handed = channel.map(|channel| channel.as_fd());
        self.control
            .async_io(Interest::WRITABLE, || {
                control::send(self.control.as_fd(), request, handed)
            })
            .await
    }

    /// If there is room for it.
    fn tell(&self, request: &Request) {
        let _full_or_gone = self.control.try_io(Interest::WRITABLE, || {
            control::send(self.control.as_fd(), request, None)
        });
    }

    async fn answer(&self) -> io::Result<Option<Answer>> {
        self.control
            .async_io(Interest::READABLE, || {
                control::receive_answer(self.control.as_fd())
            })
            .await
    }

    /// Until the zygote is gone. Whoever waits for a child of it hears that nobody can say how it ended.
    async fn listen(&self) {
        loop {
            let answer = tokio::select! {
                answer = self.answer() => answer,
                () = self.stop.cancelled() => break,
            };
            let (id, end) = match answer {
                Ok(Some(Answer::Exited {
                    id,
                    status,
                    max_rss_kib,
                })) => (id, Ok(Exit { status, max_rss_kib })),
                Ok(Some(Answer::Failed { id, errno })) => (id, Err(io::Error::from_raw_os_error(errno))),
                Ok(Some(Answer::GaveWay { id })) => {
                    if let Some(child) = self.awaited.lock().get(&id) {
                        child.gave_way.store(true, Ordering::Relaxed);
                    }
                    continue;
                }
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => break,
            };
            if let Some(child) = self.awaited.lock().remove(&id) {
                let _nobody_waits = child.end.send(end);
            }
        }
        self.gone.send_replace(true);
        self.awaited.lock().clear();
    }
}

async fn log(stderr: ChildStderr) {
    let Ok(stderr) = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)) else {
        return;
    };
    let mut lines = BufReader::new(stderr.take(MAX_STDERR_BYTES)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "a zygote said");
    }
}
