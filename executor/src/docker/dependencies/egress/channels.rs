//! The connections of one container, side by side on its two streams. Each has a window of its own, so that one whose
//! reader is slow holds up none of the others, and what it may have under way is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument as _;

use super::Egress;
use super::frames::{Frame, Garbled, Kind, MAX_DATA_BYTES};

/// Bytes of data that may be under way in one direction of one channel; `outlet.cjs` has the same.
const WINDOW: usize = 256 * 1024;
/// Pieces in which they may come: each costs something, however small it is.
const MAX_PIECES: usize = 1_024;
/// npm has 15 connections at a time.
const MAX_CHANNELS: usize = 64;
/// Frames that wait for the container to read.
const WAITING: usize = 64;

/// Dropping it ends every connection.
pub(in super::super) struct Channels {
    egress: Arc<Egress>,
    open: HashMap<u32, Channel>,
    /// Each channel's number is above those before it, so that what is late for one is never another's.
    last_opened: u32,
    ended: JoinSet<u32>,
    outgoing: mpsc::Sender<Frame>,
}

struct Channel {
    /// `None` when the container has said that no more comes.
    incoming: Option<mpsc::Sender<Bytes>>,
    /// Bytes that came and are not used up.
    under_way: Arc<AtomicUsize>,
    /// What the container still takes.
    credit: Arc<Semaphore>,
    task: AbortHandle,
}

impl Channels {
    /// And the frames that are to be written to the container.
    pub(in super::super) fn new(egress: Arc<Egress>) -> (Self, mpsc::Receiver<Frame>) {
        let (outgoing, frames) = mpsc::channel(WAITING);
        let channels = Self {
            egress,
            open: HashMap::new(),
            last_opened: 0,
            ended: JoinSet::new(),
            outgoing,
        };
        (channels, frames)
    }

    /// Never waits for anybody.
    ///
    /// # Errors
    /// When the container does not keep to its windows.
    pub(in super::super) fn receive(&mut self, frame: Frame) -> Result<(), Garbled> {
        while let Some(ended) = self.ended.try_join_next() {
            if let Ok(channel) = ended {
                self.open.remove(&channel);
            }
        }
        let id = frame.channel;
        match frame.kind {
            Kind::Open => return self.open(id),
            Kind::Close => {
                if let Some(channel) = self.open.remove(&id) {
                    channel.task.abort();
                }
            }
            Kind::End => {
                if let Some(channel) = self.open.get_mut(&id) {
                    channel.incoming = None;
                }
            }
            // What still comes for a channel that is over here is nobody's.
            Kind::Data => {
                if let Some(channel) = self.open.get(&id) {
                    channel.take(frame.payload)?;
                }
            }
            Kind::More => {
                let granted = frame.granted().ok_or(Garbled)? as usize;
                if let Some(channel) = self.open.get(&id) {
                    channel.grant(granted)?;
                }
            }
            Kind::Report => return Err(Garbled),
        }
        Ok(())
    }

    fn open(&mut self, id: u32) -> Result<(), Garbled> {
        if self.open.len() >= MAX_CHANNELS || id <= self.last_opened {
            return Err(Garbled);
        }
        self.last_opened = id;
        let (incoming, came) = mpsc::channel(MAX_PIECES);
        let under_way = Arc::<AtomicUsize>::default();
        let credit = Arc::new(Semaphore::new(WINDOW));
        let work = Work {
            id,
            under_way: Arc::clone(&under_way),
            credit: Arc::clone(&credit),
            outgoing: self.outgoing.clone(),
        };
        let egress = Arc::clone(&self.egress);
        let task = async move {
            work.run(&egress, came).await;
            id
        };
        let channel = Channel {
            incoming: Some(incoming),
            under_way,
            credit,
            task: self.ended.spawn(task.in_current_span()),
        };
        self.open.insert(id, channel);
        Ok(())
    }
}

impl Channel {
    fn take(&self, payload: Bytes) -> Result<(), Garbled> {
        let before = self.under_way.fetch_add(payload.len(), Ordering::Relaxed);
        if before + payload.len() > WINDOW {
            return Err(Garbled);
        }
        if let Some(incoming) = &self.incoming {
            // A task that has ended reads no more, and its channel goes with the next frame.
            if let Err(TrySendError::Full(_)) = incoming.try_send(payload) {
                return Err(Garbled);
            }
        }
        Ok(())
    }

    fn grant(&self, bytes: usize) -> Result<(), Garbled> {
        if self.credit.available_permits() + bytes > WINDOW {
            return Err(Garbled);
        }
        self.credit.add_permits(bytes);
        Ok(())
    }
}

/// One channel's own.
struct Work {
    id: u32,
    under_way: Arc<AtomicUsize>,
    credit: Arc<Semaphore>,
    outgoing: mpsc::Sender<Frame>,
}

impl Work {
    async fn run(&self, egress: &Egress, came: mpsc::Receiver<Bytes>) {
        let (near, far) = tokio::io::duplex(MAX_DATA_BYTES);
        let (from_proxy, to_proxy) = tokio::io::split(near);
        // The proxy's end is the channel's: what the container would still say, nobody would hear.
        let answered = async { tokio::join!(egress.serve(far), self.send(from_proxy)) };
        tokio::select! {
            _ = answered => {}
            () = self.feed(came, to_proxy) => {}
        }
    }

    async fn send(&self, mut from_proxy: ReadHalf<DuplexStream>) {
        let mut chunk = BytesMut::with_capacity(MAX_DATA_BYTES);
        while let Ok(1..) = from_proxy.read_buf(&mut chunk).await {
            let payload = chunk.split().freeze();
            chunk.reserve(MAX_DATA_BYTES);
            let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            match self.credit.acquire_many(bytes).await {
                Ok(permit) => permit.forget(),
                Err(_closed) => return,
            }
            if self.outgoing.send(Frame::data(self.id, payload)).await.is_err() {
                return;
            }
        }
        // To a container that is gone there is nothing to say.
        let _gone = self.outgoing.send(Frame::bare(Kind::End, self.id)).await;
    }

    /// Ends only when the container closes the channel: one that has no more to say still listens.
    async fn feed(&self, mut came: mpsc::Receiver<Bytes>, mut to_proxy: WriteHalf<DuplexStream>) {
        while let Some(payload) = came.recv().await {
            if to_proxy.write_all(&payload).await.is_err() {
                break;
            }
            self.under_way.fetch_sub(payload.len(), Ordering::Relaxed);
            let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            if self.outgoing.send(Frame::more(self.id, bytes)).await.is_err() {
                return;
            }
        }
        let _gone = to_proxy.shutdown().await;
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::docker::dependencies::egress::Resolver;
    use crate::docker::dependencies::lock::Registry;

    struct Loopback;

    #[async_trait]
    impl Resolver for Loopback {
        async fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec!["127.0.0.1".parse().unwrap()])
        }
    }

    /// A registry on loopback, and the channels of a container that may reach it.
    struct Bench {
        listener: TcpListener,
        channels: Channels,
        frames: mpsc::Receiver<Frame>,
    }

    impl Bench {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let registry = Registry::parse(&format!("https://npm.internal:{port}/")).unwrap();
            let networks = [("127.0.0.0/8").parse().unwrap()].into();
            let egress = Egress::new(registry.endpoint().clone(), networks, Arc::new(Loopback));
            let (channels, frames) = Channels::new(Arc::new(egress));
            Self {
                listener,
                channels,
                frames,
            }
        }

        fn say(&mut self, kind: Kind, id: u32, payload: &[u8]) -> Result<(), Garbled> {
            let payload = Bytes::copy_from_slice(payload);
            self.channels.receive(Frame {
                kind,
                channel: id,
                payload,
            })
        }

        async fn open(&mut self, id: u32) -> tokio::net::TcpStream {
            let port = self.listener.local_addr().unwrap().port();
            let connect = format!("CONNECT npm.internal:{port} HTTP/1.1\r\n\r\n");
            self.say(Kind::Open, id, b"").unwrap();
            self.say(Kind::Data, id, connect.as_bytes()).unwrap();
            let (stream, _) = self.listener.accept().await.unwrap();
            assert_eq!(
                self.data(id, 39).await,
                b"HTTP/1.1 200 Connection Established\r\n\r\n"
            );
            stream
        }

        async fn frame(&mut self) -> Frame {
            let soon = Duration::from_secs(10);
            timeout(soon, self.frames.recv()).await.unwrap().unwrap()
        }

        async fn data(&mut self, id: u32, bytes: usize) -> Vec<u8> {
            let mut data = Vec::new();
            while data.len() < bytes {
                let frame = self.frame().await;
                if frame.kind == Kind::Data && frame.channel == id {
                    data.extend_from_slice(&frame.payload);
                }
            }
            data
        }
    }

    #[tokio::test]
    async fn channels_carry_side_by_side_and_end_when_the_registry_does() {
        let mut bench = Bench::new().await;
        let (mut one, mut two) = (bench.open(1).await, bench.open(2).await);
        two.write_all(b"second").await.unwrap();
        assert_eq!(bench.data(2, 6).await, b"second");
        bench.say(Kind::Data, 1, b"first").unwrap();
        let mut heard = [0; 5];
        one.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"first");
        drop(one);
        loop {
            let frame = bench.frame().await;
            if frame.kind == Kind::End {
                assert_eq!(frame.channel, 1);
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_slow_reader_holds_up_nobody_else() {
        let mut bench = Bench::new().await;
        let (mut one, mut two) = (bench.open(1).await, bench.open(2).await);
        // Far more than the window, which the container never opens again.
        let flood = tokio::task::JoinSet::from_iter([async move {
            let _stopped = one.write_all(&vec![0; 64 << 20]).await;
        }]);
        let mut flooded = 39;
        while flooded + MAX_DATA_BYTES <= WINDOW {
            let frame = bench.frame().await;
            if frame.kind == Kind::Data {
                flooded += frame.payload.len();
            }
        }
        two.write_all(b"second").await.unwrap();
        loop {
            let frame = bench.frame().await;
            match (frame.kind, frame.channel) {
                (Kind::Data, 2) => break assert_eq!(frame.payload, "second"),
                (Kind::Data, _) => flooded += frame.payload.len(),
                _ => {}
            }
        }
        assert!(flooded <= WINDOW, "{flooded}");
        drop(flood);
    }

    #[tokio::test]
    async fn pieces_that_hold_nothing_are_bounded_too() {
        let mut bench = Bench::new().await;
        bench.say(Kind::Open, 1, b"").unwrap();
        for _ in 0..MAX_PIECES {
            bench.say(Kind::Data, 1, b"").unwrap();
        }
        assert_eq!(bench.say(Kind::Data, 1, b""), Err(Garbled));
    }

    #[tokio::test]
    async fn a_container_that_does_not_keep_to_its_bounds_is_garbled() {
        let mut bench = Bench::new().await;
        assert_eq!(bench.say(Kind::Report, 0, b"{}"), Err(Garbled));
        assert_eq!(bench.say(Kind::Data, 9, b"of no channel"), Ok(()));
        bench.say(Kind::Open, 1, b"").unwrap();
        assert_eq!(bench.say(Kind::Open, 1, b""), Err(Garbled));
        assert_eq!(bench.say(Kind::More, 1, &[0, 0, 0, 1]), Err(Garbled));
        assert_eq!(bench.say(Kind::Data, 1, &vec![b' '; WINDOW + 1]), Err(Garbled));
        for id in 2..=u32::try_from(MAX_CHANNELS).unwrap() {
            bench.say(Kind::Open, id, b"").unwrap();
        }
        assert_eq!(bench.say(Kind::Open, 1_000, b""), Err(Garbled));
    }

    #[tokio::test]
    async fn what_the_container_closes_is_closed_to_the_registry_too() {
        let mut bench = Bench::new().await;
        let mut stream = bench.open(1).await;
        bench.say(Kind::Close, 1, b"").unwrap();
        let soon = Duration::from_secs(10);
        let mut rest = Vec::new();
        // An end or a reset, either way it is over.
        let _over = timeout(soon, stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn the_end_of_the_install_ends_every_connection() {
        let mut bench = Bench::new().await;
        let mut stream = bench.open(1).await;
        drop(bench.channels);
        let soon = Duration::from_secs(10);
        let mut rest = Vec::new();
        let _over = timeout(soon, stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
    }
}
