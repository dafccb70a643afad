//! The way between a session's worker and its server object, watched: what comes in and goes out says whether the session
//! is in use, and what the worker would have to wait for is kept from it.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions as _, ServerJsonRpcMessage};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::streamable_http_server::session::local::LocalSessionWorker;
use rmcp::transport::{Transport, WorkerTransport};
use tokio_util::sync::DropGuard;

use super::bus::SessionBus;
use super::streams::progress_token;
use super::{Session, names};

type Inner = WorkerTransport<LocalSessionWorker>;

pub struct SessionTransport {
    inner: Inner,
    session: Arc<Session>,
    bus: Arc<dyn SessionBus>,
    /// Whoever serves the session has it.
    _served: DropGuard,
}

impl SessionTransport {
    pub(super) fn new(inner: Inner, session: Arc<Session>, bus: Arc<dyn SessionBus>) -> Self {
        let served = session.served.clone().drop_guard();
        Self {
            inner,
            session,
            bus,
            _served: served,
        }
    }
}

/// Which way a message goes.
enum Way {
    /// Over the stream of the request that it belongs to.
    Request,
    /// Over the GET stream.
    Standalone,
    /// Nobody would read it.
    Nowhere,
}

impl Session {
    fn way(&self, message: &ServerJsonRpcMessage) -> Way {
        if let Some(token) = progress_token(message) {
            return if self.progress.is_expected(token) {
                Way::Request
            } else {
                Way::Nowhere
            };
        }
        match message {
            ServerJsonRpcMessage::Notification(_) => Way::Standalone,
            ServerJsonRpcMessage::Request(request) => {
                let originating = request.request.extensions().get::<OriginatingRequestId>();
                if originating.is_some_and(|id| self.activity.is_running(&id.0)) {
                    Way::Request
                } else {
                    Way::Standalone
                }
            }
            _ => Way::Request,
        }
    }
}

impl Transport<RoleServer> for SessionTransport {
    type Error = <Inner as Transport<RoleServer>>::Error;

    fn send(
        &mut self,
        mut message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.session.activity.answered(&message);
        let way = self.session.way(&message);
        let kept = self.session.kept_by(&message);
        names::outgoing(self.bus.replica(), &mut message);
        let (sending, posted) = match way {
            Way::Request => (Some(self.inner.send(message)), None),
            Way::Standalone => (None, Some(message)),
            Way::Nowhere => (None, None),
        };
        let (session, bus) = (self.session.clone(), self.bus.clone());
        async move {
            if let Some(posted) = posted {
                session.post(&*bus, posted).await;
            }
            // Before the client hears that it has been set: its next request may come to another replica.
            if let Some(kept) = kept {
                session.keep(&*bus, kept).await;
            }
            match sending {
                Some(sending) => sending.await,
                None => Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let message = self.inner.receive().await?;
        self.session.activity.received(&message);
        Some(message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
