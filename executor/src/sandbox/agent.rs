//! One session's end of the stream to its agent: many processes and transfers over one pair of pipes.
//!
//! The stream is always read, and each of its users takes what is theirs without waiting for anybody else, so that no
//! command holds up another. An agent that does not do in time what it should (somebody may have stopped it) is given up,
//! and the session with it.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Lost;
use super::frames::{Decoder, Frame, MAX_PAYLOAD, Order, Word, encode};

/// Orders that wait for the agent to read them.
const ORDERS: usize = 64;
/// Frames that wait for whoever they are for.
const WORDS: usize = 64;
/// For the agent to take an order, and to do what needs only itself. It shares its processors with what it started.
const PATIENCE: Duration = Duration::from_secs(20);
/// For the agent to end a process and all that came of it.
const KILL: Duration = Duration::from_secs(4);

/// The two directions of what a sandbox's agent reads and writes.
pub struct Streams {
    pub output: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

#[derive(Debug)]
pub(super) struct Agent {
    orders: mpsc::Sender<Bytes>,
    routes: Mutex<Routes>,
    next_id: AtomicU32,
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Routes {
    closed: bool,
    by_id: HashMap<u32, mpsc::Sender<Frame>>,
}

/// One process or transfer.
#[derive(Debug)]
pub(super) struct Line {
    pub id: u32,
    agent: Arc<Agent>,
    words: mpsc::Receiver<Frame>,
    /// What came while something else was waited for.
    early: VecDeque<Frame>,
    /// What the agent is told when nobody waits for the end any more.
    parting: Option<Order>,
}

impl Agent {
    /// The agent, and what carries its frames until it is gone, which somebody has to run.
    pub(super) fn over(streams: Streams) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (orders, pending) = mpsc::channel(ORDERS);
        let agent = Arc::new(Self {
            orders,
            routes: Mutex::default(),
            next_id: AtomicU32::new(1),
            gone: CancellationToken::new(),
        });
        let Streams { output, input } = streams;
        let carried = Arc::clone(&agent);
        let carry = async move {
            tokio::select! {
                () = carried.read(output) => {}
                () = write(input, pending) => {}
                () = carried.gone.cancelled() => {}
            }
            carried.close();
        };
        (agent, carry)
    }

    /// Completes when nobody is there any more to be told anything.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Its session is over.
    pub(super) fn dismiss(&self) {
        self.gone.cancel();
    }

    /// Whoever waits for the agent is told that it is lost.
    pub(super) fn give_up(&self, why: &'static str) {
        if !self.is_gone() {
            tracing::warn!(why, "a sandbox session's agent is given up");
            self.gone.cancel();
        }
    }

    /// The line on which the agent says that it is there.
    pub(super) fn greeting(self: &Arc<Self>) -> Line {
        self.line(0, None)
    }

    pub(super) async fn start(self: &Arc<Self>, wanted: &impl Serialize) -> Result<Line, Lost> {
        self.begin(Order::Start, wanted, Order::Kill).await
    }

    pub(super) async fn transfer(
        self: &Arc<Self>,
        order: Order,
        what: &impl Serialize,
    ) -> Result<Line, Lost> {
        self.begin(order, what, Order::Abort).await
    }

    async fn begin(
        self: &Arc<Self>,
        order: Order,
        what: &impl Serialize,
        parting: Order,
    ) -> Result<Line, Lost> {
        let line = self.line(self.next_id.fetch_add(1, Ordering::Relaxed), Some(parting));
        let payload = serde_json::to_vec(what).map_err(|_| Lost)?;
        line.order(order, &payload).await?;
        Ok(line)
    }

    fn line(self: &Arc<Self>, id: u32, parting: Option<Order>) -> Line {
        let (sender, words) = mpsc::channel(WORDS);
        let mut routes = self.routes.lock();
        // Without a sender the line ends at once.
        if !routes.closed {
            routes.by_id.insert(id, sender);
        }
        Line {
            id,
            agent: Arc::clone(self),
            words,
            early: VecDeque::new(),
            parting,
        }
    }

    fn close(&self) {
        self.gone.cancel();
        let mut routes = self.routes.lock();
        routes.closed = true;
        routes.by_id.clear();
    }

    async fn read(&self, mut output: Pin<Box<dyn Stream<Item = Bytes> + Send>>) {
        let mut decoder = Decoder::default();
        while let Some(chunk) = output.next().await {
            decoder.feed(&chunk);
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => self.route(frame).await,
                    Err(_) => return self.give_up("it broke its protocol"),
                }
            }
        }
    }

    /// What is for nobody any more is dropped.
    async fn route(&self, frame: Frame) {
        let to = self.routes.lock().by_id.get(&frame.id).cloned();
        if let Some(to) = to {
            let _nobody = to.send(frame).await;
        }
    }

    async fn order(&self, bytes: Bytes) -> Result<(), Lost> {
        let told = tokio::select! {
            told = timeout(PATIENCE, self.orders.send(bytes)) => told,
            () = self.gone.cancelled() => return Err(Lost),
        };
        match told {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Lost),
            Err(_) => {
                self.give_up("it takes no orders");
                Err(Lost)
            }
        }
    }
}

impl Line {
    pub(super) async fn order(&self, order: Order, payload: &[u8]) -> Result<(), Lost> {
        self.agent.order(encode(order, self.id, payload)).await
    }

    /// The next word, whenever it comes.
    pub(super) async fn next(&mut self) -> Result<Frame, Lost> {
        let frame = match self.early.pop_front() {
            Some(frame) => frame,
            None => self.words.recv().await.ok_or(Lost)?,
        };
        if matches!(
            frame.word,
            Word::Exited | Word::Unable | Word::NotDone | Word::End
        ) {
            self.parting = None;
        }
        Ok(frame)
    }

    /// The transfer has come to its end in another way.
    pub(super) fn is_over(&mut self) {
        self.parting = None;
    }

    /// The answer to an order that needs nothing but the agent.
    pub(super) async fn answer(&mut self) -> Result<Frame, Lost> {
        match timeout(PATIENCE, self.next()).await {
            Ok(answered) => answered,
            Err(_) => {
                self.agent.give_up("it does not answer");
                Err(Lost)
            }
        }
    }

    /// Writes to the process's stdin, and waits until it has taken it. Nothing ends it.
    pub(super) async fn input(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        if bytes.is_empty() {
            return self.input_chunk(bytes).await;
        }
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.input_chunk(chunk).await?;
        }
        Ok(())
    }

    async fn input_chunk(&mut self, chunk: &[u8]) -> Result<(), Lost> {
        self.order(Order::Input, chunk).await?;
        while let Some(frame) = self.words.recv().await {
            let over = matches!(frame.word, Word::Exited | Word::Unable);
            if frame.word == Word::Taken {
                return Ok(());
            }
            // A process that prints and does not read is not waited for with ever more of what it prints.
            if over || self.early.len() < WORDS {
                self.early.push_back(frame);
            }
            if over {
                return Ok(());
            }
        }
        Err(Lost)
    }

    /// Ends the process and all that came of it. What it still says is handed to `heard`, its exit included.
    pub(super) async fn kill(&mut self, mut heard: impl FnMut(Frame)) -> Result<(), Lost> {
        self.order(Order::Kill, &[]).await?;
        let ended = async {
            let (mut killed, mut exited) = (false, false);
            while !(killed && exited) {
                let frame = self.next().await?;
                if frame.word == Word::Killed {
                    killed = true;
                    // Whatever outlives that many attempts is not left to run on.
                    if frame.payload[..] != *br#"{"left":0}"# {
                        self.agent.give_up("a process outlives its end");
                        return Err(Lost);
                    }
                }
                exited |= matches!(frame.word, Word::Exited | Word::Unable);
                heard(frame);
            }
            Ok(())
        };
        match timeout(KILL, ended).await {
            Ok(ended) => ended,
            Err(_) => {
                self.agent.give_up("it does not end a process");
                Err(Lost)
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.agent.routes.lock().by_id.remove(&self.id);
        if let Some(parting) = self.parting
            && let Err(mpsc::error::TrySendError::Full(_)) =
                self.agent.orders.try_send(encode(parting, self.id, &[]))
        {
            self.agent.give_up("it takes no orders");
        }
    }
}

async fn write(mut input: Pin<Box<dyn AsyncWrite + Send>>, mut pending: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = pending.recv().await {
        let written = async {
            input.write_all(&bytes).await?;
            input.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}
