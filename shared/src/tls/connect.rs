//! Connections to others: encrypted, and to nobody but the one that is meant.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tower::Service;

use super::certificate::{Certificate, server_name};
use super::explain;
use super::identity::Identity;
use super::peer;
use super::trust::Trust;

/// From the first packet to a finished handshake; an endpoint may ask for less.
const CONNECT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 443;

/// For `Endpoint::connect_with_connector`: each connection is begun with the certificates of that moment.
#[derive(Clone)]
pub struct Connector {
    trust: Arc<Trust>,
    peer: Identity,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{host}:{port} can't be reached: {source}")]
    Unreachable {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("{host}:{port} did not answer in time")]
    Late { host: String, port: u16 },
    #[error("no connection with {host}:{port}: {why}")]
    Refused { host: String, port: u16, why: String },
}

/// Of an address that begins with `https://` or `http://`. Encryption is the connector's matter alone: tonic must not look
/// for its own when it reads the scheme.
///
/// # Errors
/// When it is no address.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Endpoint::from_shared(address.replacen("https://", "http://", 1))
}

impl Connector {
    /// Connections to that one, whoever else the same authority vouches for.
    pub fn new(trust: Arc<Trust>, peer: Identity) -> Self {
        Self { trust, peer }
    }

    async fn connect(self, address: Uri) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
        let host = address.host().unwrap_or_default().to_owned();
        let port = address.port_u16().unwrap_or(DEFAULT_PORT);
        let late = ConnectError::Late {
            host: host.clone(),
            port,
        };
        timeout(CONNECT, self.to(host, port)).await.unwrap_or(Err(late))
    }

    async fn to(self, host: String, port: u16) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
        let refused = |why: String| ConnectError::Refused {
            host: host.clone(),
            port,
            why,
        };
        let name = server_name(&host).map_err(refused)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let unreachable = |source| ConnectError::Unreachable {
            host: host.clone(),
            port,
            source,
        };
        let stream = TcpStream::connect((bare, port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let connector = TlsConnector::from(self.trust.material().client.clone());
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| refused(explain::handshake(&error)))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown
            .map(Certificate::read)
            .ok_or_else(|| refused("it showed no certificate".to_owned()))?
            .map_err(refused)?;
        // Nothing has been said to it but this side's certificate, which is no secret.
        peer::check(&certificate, &self.peer).map_err(refused)?;
        accepted(stream).await.map(TokioIo::new).map_err(refused)
    }
}

/// In TLS 1.3 a client has finished before the server looks at its certificate, so a refusal comes as the first thing to be
/// read. An HTTP/2 server that takes the connection speaks first.
async fn accepted(mut stream: TlsStream<TcpStream>) -> Result<TlsStream<TcpStream>, String> {
    match stream.fill_buf().await {
        Ok([]) => Err("it closed the connection".to_owned()),
        Ok(_settings) => Ok(stream),
        Err(error) => Err(explain::handshake(&error)),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        Box::pin(self.clone().connect(address))
    }
}
