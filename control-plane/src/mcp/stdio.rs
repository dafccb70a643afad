//! MCP over stdin and stdout, both eras, one message a line. Nothing else is written to stdout.
//!
//! ```text
//! serving ──stdin closed──▶ what runs gets a moment ──▶ cancelled ──▶ end
//!    │
//!    └──soft token──▶ nothing more is read; what runs ends by itself ──▶ end
//!                                   └──hard token──▶ cancelled ──▶ end
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dynamic_mcp_shared::lifecycle::Lifecycle;
use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{DynamicMcp, McpDeps};
use crate::principal::Access;

/// How long running calls get after the client closed stdin: it has gone, or wants the server to go.
const AFTER_CLOSE: Duration = Duration::from_millis(500);
/// How long what was read last may take to begin.
const TO_BEGIN: Duration = Duration::from_millis(20);

/// The process's own streams, without a thread in between where they are pipes.
pub fn streams() -> (
    impl AsyncRead + Send + Unpin + 'static,
    impl AsyncWrite + Send + Unpin + 'static,
) {
    rmcp::transport::stdio_pipes()
}

/// Serves one client until it closes its end or the lifecycle ends. Does not begin a shutdown itself.
///
/// # Errors
/// When the client's first message is none that a connection can begin with.
pub async fn serve<R, W>(
    deps: Arc<McpDeps>,
    lifecycle: &Lifecycle,
    stdin: R,
    stdout: W,
) -> Result<(), ServerInitializeError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let closed = CancellationToken::new();
    let end = CancellationToken::new();
    let stdin = UntilStopped {
        inner: stdin,
        stop: lifecycle.soft().clone(),
        closed: closed.clone(),
    };
    let transport = AsyncRwTransport::new_server(stdin, stdout);
    // Whoever started the process.
    let server = DynamicMcp::of(Access::anonymous(), deps, lifecycle.clone());
    let running = server.running().clone();
    lifecycle.spawn(end_after(closed, lifecycle.clone(), running, end.clone()));
    match Box::pin(serve_server_with_ct(server, transport, end.clone())).await {
        Ok(service) => {
            // Why it ended is known to whoever ended it.
            let _reason = service.waiting().await;
            end.cancel();
            Ok(())
        }
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn end_after(
    closed: CancellationToken,
    lifecycle: Lifecycle,
    running: TaskTracker,
    end: CancellationToken,
) {
    running.close();
    tokio::select! {
        () = end.cancelled() => {}
        () = closed.cancelled() => {
            tokio::time::sleep(TO_BEGIN).await;
            let _still_running = tokio::time::timeout(AFTER_CLOSE, running.wait()).await;
        }
        () = lifecycle.soft().cancelled() => {
            tokio::select! {
                () = running.wait() => {}
                () = lifecycle.hard().cancelled() => {}
            }
        }
    }
    end.cancel();
}

/// Reads nothing more once the process stops, and tells when the other end has closed.
struct UntilStopped<R> {
    inner: R,
    stop: CancellationToken,
    closed: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilStopped<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stop.is_cancelled() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let closed = match &polled {
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if closed {
            self.closed.cancel();
        }
        polled
    }
}
