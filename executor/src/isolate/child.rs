//! One child as the broker holds it: locked down and ready, or in a call. Dropping it is enough: the undertaker sees to
//! its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_isolate::frame::{self, Broken, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use super::pace::Pace;
use super::undertaker::{Condemned, Undertaker};
use super::zygote::{Birth, Ended, Exit, Zygote};
use crate::kept::Keepable;

/// From the request to the child's first word. A fork and a lockdown: well below a millisecond, but for a machine that
/// has much else to do.
const READY: Duration = Duration::from_secs(5);
/// For the word that a child has ended to come after its channel has.
const EXIT: Duration = Duration::from_millis(250);
const BUFFER_BYTES: usize = 8 << 10;
/// A child may live through this much of calls; its processor time is bounded in the kernel by more.
pub const MOST_SERVED: Duration = Duration::from_secs(600);
/// What the kernel bounds: all that may be served, and one more call of the longest.
pub const CPU_SECONDS: u64 = 600 + 120 + 5;

pub struct Child {
    stream: BufReader<UnixStream>,
    id: u64,
    pub zygote: Arc<Zygote>,
    ended: Option<Ended>,
    gave_way: Arc<AtomicBool>,
    /// It has told its last word and ends by itself.
    pub leaving: bool,
    /// Wall time of the calls that it served, which its processor time is not above.
    pub served: Duration,
    undertaker: Undertaker,
}

#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("the zygote takes no request: {0}")]
    Request(#[source] io::Error),
    #[error("no process could be made: {0}")]
    Fork(#[source] io::Error),
    #[error("the child ended before it was ready (wait status {0:#x})")]
    Ended(i32),
    #[error("its zygote ended")]
    Lost,
    #[error("the child was not ready within {} s", READY.as_secs())]
    Silent,
}

/// What a child said, or that it is over.
#[derive(Debug)]
pub enum Said {
    Frame(Kind, Bytes),
    /// No child that runs our code says this.
    Broken(Broken),
    Closed,
    /// It ended before it had read all that was written to it.
    Unheard,
}

impl Child {
    /// # Errors
    /// The step that failed.
    pub async fn make(zygote: Arc<Zygote>, undertaker: Undertaker) -> Result<Self, MakeError> {
        let (ours, theirs) = pair().map_err(MakeError::Request)?;
        let Birth { id, ended, gave_way } = zygote.spawn(theirs).await.map_err(MakeError::Request)?;
        let mut child = Self {
            stream: BufReader::with_capacity(BUFFER_BYTES, ours),
            id,
            zygote,
            ended: Some(ended),
            gave_way,
            leaving: false,
            served: Duration::ZERO,
            undertaker,
        };
        let first = timeout(READY, child.next(0)).await;
        match first.map_err(|_| MakeError::Silent)? {
            Said::Frame(Kind::Ready, _) => Ok(child),
            _ => Err(child.why_not_ready().await),
        }
    }

    async fn why_not_ready(&mut self) -> MakeError {
        match self.ended().await {
            Some(Ok(exit)) => MakeError::Ended(exit.status),
            Some(Err(error)) => MakeError::Fork(error),
            None => MakeError::Lost,
        }
    }

    /// Whether it is known to have ended.
    fn is_over(&mut self) -> bool {
        let ended = self.ended.as_mut().map(oneshot::Receiver::try_recv);
        if matches!(ended, Some(Err(TryRecvError::Empty))) {
            return self.zygote.is_gone();
        }
        // There is nothing more to be heard.
        self.ended = None;
        true
    }

    pub fn pace(&self) -> Pace {
        Pace {
            zygote: Arc::clone(&self.zygote),
            id: self.id,
            gave_way: Arc::clone(&self.gave_way),
        }
    }

    pub async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(message).await
    }

    /// `max_result`: the most bytes that a result may have.
    pub async fn next(&mut self, max_result: usize) -> Said {
        let mut header = [0; frame::HEADER_BYTES];
        if let Err(error) = self.stream.read_exact(&mut header).await {
            return match error.kind() {
                // So a local socket tells that its other end was closed with something unread in it (unix(7)).
                io::ErrorKind::ConnectionReset => Said::Unheard,
                _ => Said::Closed,
            };
        }
        let (kind, bytes) = match frame::read_header(header, max_result) {
            Ok(told) => told,
            Err(broken) => return Said::Broken(broken),
        };
        let mut payload = vec![0; bytes];
        match self.stream.read_exact(&mut payload).await {
            Ok(_) => Said::Frame(kind, payload.into()),
            Err(_) => Said::Closed,
        }
    }

    /// How it ended, after its channel has closed. `None`: nobody can say.
    pub async fn exit(&mut self) -> Option<Exit> {
        self.ended().await?.ok()
    }

    async fn ended(&mut self) -> Option<Result<Exit, io::Error>> {
        timeout(EXIT, self.ended.take()?).await.ok()?.ok()
    }
}

impl Keepable for Child {
    fn too_old(&self) -> bool {
        self.zygote.is_retired() || self.served > MOST_SERVED || self.gave_way.load(Ordering::Relaxed)
    }

    fn is_quiet(&mut self) -> bool {
        // Before its call and between two a child only reads: whatever it says then is not of our making. A channel that is
        // closed tells sooner than the zygote that the child has ended.
        !self.is_over() && self.stream.buffer().is_empty() && {
            let nothing = self.stream.get_ref().try_read(&mut [0]);
            nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.undertaker.see_to(Condemned {
                zygote: Arc::clone(&self.zygote),
                id: self.id,
                ended,
                leaving: self.leaving,
            });
        }
    }
}

/// Ours never blocks; the child's does.
fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
