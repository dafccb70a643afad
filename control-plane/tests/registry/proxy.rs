//! A wire to a server that breaks on demand.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Up,
    /// Connections are closed and new ones end at once.
    Cut,
    /// Connections stay, and nothing comes through them ever again.
    Silent,
}

pub struct Proxy {
    wire: watch::Sender<Wire>,
    url: String,
    _accepting: JoinSet<()>,
}

impl Proxy {
    pub async fn before(url: &str) -> Self {
        let (_, after_user) = url.split_once('@').unwrap();
        let target = after_user.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here: SocketAddr = listener.local_addr().unwrap();
        let (wire, state) = watch::channel(Wire::Up);
        let proxied = url.replace(&format!("@{target}"), &format!("@{here}"));
        assert_ne!(
            proxied, url,
            "the address has the form scheme://user[:password]@host:port/database"
        );
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, state));
        Self {
            wire,
            url: proxied,
            _accepting: accepting,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send(wire).unwrap();
    }
}

async fn accept(listener: TcpListener, target: String, state: watch::Receiver<Wire>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(carry(client, target.clone(), state.clone()));
    }
}

async fn carry(mut client: TcpStream, target: String, mut state: watch::Receiver<Wire>) {
    let mut server = TcpStream::connect(target).await.unwrap();
    if *state.borrow_and_update() == Wire::Up {
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = state.wait_for(|wire| *wire != Wire::Up) => {}
        }
    }
    // A connection that was silent once stays so: neither end learns that the wire is whole again.
    let _ = state.wait_for(|wire| *wire == Wire::Cut).await;
}
