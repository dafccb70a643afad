//! Stands in front of something that the product needs, and lets a test take it away: stalled, as behind a network that
//! swallows everything, or cut, as if it had died.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flow,
    Stall,
    Cut,
}

pub struct Proxy {
    /// Where clients connect: a socket's path, or a port.
    address: String,
    mode: watch::Sender<Mode>,
    target: watch::Sender<Option<Target>>,
    _acceptor: JoinSet<()>,
    _dir: Option<TempDir>,
}

#[derive(Clone)]
enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Target {
    async fn connect(self) -> Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(without_delay(TcpStream::connect(address).await?)?),
        })
    }
}

/// Nobody's small messages wait here for the next one.
fn without_delay(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Proxy {
    /// In front of the Engine that the tests use; `docker_host` names it.
    ///
    /// # Errors
    /// When that is not on a Unix socket.
    pub fn before_the_engine() -> Result<Self> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let socket = host
            .strip_prefix("unix://")
            .context("the Engine is not on a Unix socket")?;
        ensure!(
            Path::new(socket).exists(),
            "{socket} is not there: run scripts/test"
        );
        let dir = TempDir::new()?;
        let path = dir.path().join("engine.sock");
        let listener = Listener::Unix(UnixListener::bind(&path)?);
        let address = format!("unix://{}", path.display());
        Ok(Self::start(
            listener,
            Some(Target::Unix(socket.into())),
            address,
            Some(dir),
        ))
    }

    /// In front of a TCP address; `address` is on loopback.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before(target: SocketAddr) -> Result<Self> {
        let proxy = Self::before_it_starts().await?;
        proxy.aim(target);
        Ok(proxy)
    }

    /// In front of something whose address is not known yet: connections wait until it is.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before_it_starts() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        Ok(Self::start(Listener::Tcp(listener), None, address, None))
    }

    /// New connections go there: what is behind has come, or has come back elsewhere.
    pub fn aim(&self, target: SocketAddr) {
        self.target.send_replace(Some(Target::Tcp(target)));
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connections stay open and new ones are taken, and nothing comes through.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Connections are closed, and so is every new one.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub fn flow(&self) {
        self.mode.send_replace(Mode::Flow);
    }

    fn start(listener: Listener, target: Option<Target>, address: String, dir: Option<TempDir>) -> Self {
        let mode = watch::Sender::new(Mode::Flow);
        let target = watch::Sender::new(target);
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, target.subscribe(), mode.subscribe()));
        Self {
            address,
            mode,
            target,
            _acceptor: acceptor,
            _dir: dir,
        }
    }
}

async fn accept(listener: Listener, target: watch::Receiver<Option<Target>>, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted: std::io::Result<Box<dyn Stream>> = match &listener {
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
            Listener::Tcp(listener) => listener
                .accept()
                .await
                .and_then(|(stream, _)| without_delay(stream))
                .map(|stream| Box::new(stream) as _),
        };
        let Ok(client) = accepted else { continue };
        connections.spawn(serve(client, target.clone(), mode.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    client: Box<dyn Stream>,
    target: watch::Receiver<Option<Target>>,
    mode: watch::Receiver<Mode>,
) {
    let mut watched = mode.clone();
    tokio::select! {
        // Either way both ends are closed here.
        _cut = watched.wait_for(|mode| *mode == Mode::Cut) => {}
        _over = pass(client, target, mode) => {}
    }
}

async fn pass(
    client: Box<dyn Stream>,
    mut target: watch::Receiver<Option<Target>>,
    mut mode: watch::Receiver<Mode>,
) -> Result<()> {
    mode.wait_for(|mode| *mode == Mode::Flow).await?;
    let target = target.wait_for(Option::is_some).await?.clone();
    let server = target.context("somewhere to connect to")?.connect().await?;
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let (there, back) = tokio::join!(
        copy(from_client, to_server, mode.clone()),
        copy(from_server, to_client, mode)
    );
    there.and(back)
}

/// Ends its direction only: attached streams of the Engine are closed one side after the other.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        mode.wait_for(|mode| *mode == Mode::Flow).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&buffer[..read]).await?;
    }
}
