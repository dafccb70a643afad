//! Connections from others, their handshake done. One that stalls keeps nobody else waiting.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::certificate::Certificate;
use super::explain;
use super::peer::Peer;
use super::trust::Trust;

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at once. A further connection takes the place of the one that has been at it longest.
const HANDSHAKES: usize = 128;
/// For one that was refused to read why: closing with its bytes unread would take the alert back.
const FAREWELL: Duration = Duration::from_secs(1);
/// After a failure to accept, which will not be over at once: no more descriptors, mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// Anybody can be refused as often as they like; the log must not grow with that.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// A connection that gRPC can be spoken on. Requests on it have a [`Peer`].
pub enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>, Peer),
}

struct Incoming {
    listener: TcpListener,
    trust: Option<Arc<Trust>>,
    handshakes: JoinSet<Option<Connection>>,
    by_age: VecDeque<AbortHandle>,
    refusals: Arc<Refusals>,
}

/// Without trust, plaintext. It never ends and never fails.
pub fn incoming(
    listener: TcpListener,
    trust: Option<Arc<Trust>>,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let incoming = Incoming {
        listener,
        trust,
        handshakes: JoinSet::new(),
        by_age: VecDeque::new(),
        refusals: Arc::default(),
    };
    Box::pin(futures::stream::unfold(incoming, async |mut incoming| {
        let connection = incoming.next().await;
        Some((Ok(connection), incoming))
    }))
}

impl Incoming {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        // A connection that can't be told so is about to fail anyway.
                        let _broken = stream.set_nodelay(true);
                        match self.trust.clone() {
                            None => return Connection::Plain(stream),
                            Some(trust) => self.shake_hands(stream, from, trust),
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn shake_hands(&mut self, stream: TcpStream, from: SocketAddr, trust: Arc<Trust>) {
        if self.by_age.len() >= HANDSHAKES {
            self.by_age.retain(|handshake| !handshake.is_finished());
        }
        if self.by_age.len() >= HANDSHAKES
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        let handshake = handshake(stream, from, trust, self.refusals.clone());
        self.by_age.push_back(self.handshakes.spawn(handshake));
    }
}

async fn handshake(
    stream: TcpStream,
    from: SocketAddr,
    trust: Arc<Trust>,
    refusals: Arc<Refusals>,
) -> Option<Connection> {
    let acceptor = TlsAcceptor::from(trust.material().server.clone());
    match timeout(HANDSHAKE, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            match shown.map(Certificate::read) {
                Some(Ok(certificate)) => Some(Connection::Tls(Box::new(stream), Peer::of(certificate))),
                Some(Err(why)) => refusals.tell(from, &format!("its certificate can't be read: {why}")),
                None => refusals.tell(from, "it showed no certificate"),
            }
        }
        Ok(Err((error, mut stream))) => {
            refusals.tell(from, &explain::handshake(&error));
            let _gone = timeout(FAREWELL, farewell(&mut stream)).await;
            None
        }
        Err(_) => refusals.tell(from, "its handshake took too long"),
    }
}

async fn farewell(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// What the log has of them: one in a while, and how many there were between.
#[derive(Default)]
struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    fn tell(&self, from: SocketAddr, why: &str) -> Option<Connection> {
        let mut last = self.0.lock();
        let (told, unsaid) = &mut *last;
        if told.is_some_and(|told| told.elapsed() < BETWEEN_LINES) {
            *unsaid += 1;
            return None;
        }
        tracing::warn!(peer = %from, why, refused_before = *unsaid, "a connection was refused");
        *last = (Some(Instant::now()), 0);
        None
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Connection::Plain(_) => Peer::plaintext(),
            Connection::Tls(_, peer) => peer.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Connection::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connection::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Connection::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
