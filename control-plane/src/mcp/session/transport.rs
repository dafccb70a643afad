//! The way between a session's worker and its server object, watched: what comes in and goes out says whether the session
//! is in use, and what the worker would have to wait for is kept from it.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcNotification, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::local::LocalSessionWorker;
use rmcp::transport::{Transport, WorkerTransport};

use super::Session;
use super::streams::progress_token;

type Inner = WorkerTransport<LocalSessionWorker>;

pub(in crate::mcp) struct SessionTransport {
    inner: Inner,
    session: Arc<Session>,
}

impl SessionTransport {
    pub(super) fn new(inner: Inner, session: Arc<Session>) -> Self {
        Self { inner, session }
    }
}

impl Session {
    /// What of it the worker is to send.
    fn outgoing(&self, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        self.activity.answered(&message);
        if let Some(token) = progress_token(&message) {
            return self.progress.admit(token).then_some(message);
        }
        match &message {
            ServerJsonRpcMessage::Notification(JsonRpcNotification {
                notification: ServerNotification::CancelledNotification(_),
                ..
            }) => Some(message),
            ServerJsonRpcMessage::Notification(_) => {
                self.outbox.push(message);
                None
            }
            _ => Some(message),
        }
    }
}

impl Transport<RoleServer> for SessionTransport {
    type Error = <Inner as Transport<RoleServer>>::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let sending = self
            .session
            .outgoing(message)
            .map(|message| self.inner.send(message));
        async move {
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
