//! Connections, from the listener to their end.
//!
//! HTTP/1.1 only: a client's going away then ends its request, and there is no preface that a connection could be held
//! open with. What speaks TLS or HTTP/2 to clients stands in front of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::metric_names;

/// How long a client may take for a request's head, and how long a connection may idle between two requests. Clients and
/// balancers keep idle connections for up to 90 s: one that the server closes first may just have been given a call.
const HEADER_DEADLINE: Duration = Duration::from_secs(100);
/// How long the answers of cancelled calls may take to leave. Less than the lifecycle waits after its hard token.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// After a failure to accept that is not the client's, as a lack of file descriptors is.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
pub struct ServerConfig {
    /// Further clients wait in the listener's backlog.
    pub max_connections: usize,
}

/// Serves until the lifecycle has finished; answers whether every task of it ended. From the soft token on, open
/// connections finish the request they are at, and end soon after the hard token if they take longer: they are the
/// lifecycle's tasks. New ones get one answer each, so that a probe sees that this replica drains and a caller is told
/// to come back; nobody waits for those.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: ServerConfig,
    readiness: Readiness,
    lifecycle: Lifecycle,
) -> bool {
    let places = Arc::new(Semaphore::new(config.max_connections));
    loop {
        let next = lifecycle
            .soft()
            .run_until_cancelled(accept(&listener, &places))
            .await;
        let Some((stream, place)) = next else { break };
        let connection = serve_connection(stream, router.clone(), lifecycle.clone(), place);
        lifecycle.spawn(connection);
    }
    readiness.set_draining();
    let mut late = JoinSet::new();
    let finish = lifecycle.finish();
    let mut finish = std::pin::pin!(finish);
    loop {
        tokio::select! {
            ended = &mut finish => return ended,
            (stream, place) = accept(&listener, &places) => {
                late.spawn(serve_once(stream, router.clone(), place));
            }
            Some(_) = late.join_next() => {}
        }
    }
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed; without a permit the bound would only be softer.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if is_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    lifecycle: Lifecycle,
    place: Option<OwnedSemaphorePermit>,
) {
    let _open = OpenConnection::count(place);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is served with Nagle's algorithm");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.soft().cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = answered_or_given_up(&lifecycle) => Ok(()),
            }
        }
    };
    note_end(ended);
}

/// The hard token cancels what runs, and its callers are to hear so.
async fn answered_or_given_up(lifecycle: &Lifecycle) {
    lifecycle.hard().cancelled().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// For a connection that comes while the server drains.
async fn serve_once(stream: TcpStream, router: Router, place: Option<OwnedSemaphorePermit>) {
    let _open = OpenConnection::count(place);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    note_end(connection.await);
}

fn note_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // Clients come and go as they like.
        tracing::debug!(%error, "a connection ended");
    }
}

/// A place among the connections, counted while it is taken.
struct OpenConnection(Option<OwnedSemaphorePermit>);

impl OpenConnection {
    fn count(place: Option<OwnedSemaphorePermit>) -> Self {
        metrics::gauge!(metric_names::HTTP_CONNECTIONS).increment(1.0);
        Self(place)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        drop(self.0.take());
        metrics::gauge!(metric_names::HTTP_CONNECTIONS).decrement(1.0);
    }
}
