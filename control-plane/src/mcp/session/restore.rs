//! A copy of a session that began elsewhere: a server object of its own that has gone through the same handshake, and been
//! told the same things.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::random_uuid;
use futures::StreamExt as _;
use http::Request;
use http::request::Parts;
use rmcp::ServerHandler;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions as _, InitializeRequest,
    InitializedNotification, RequestId,
};
use rmcp::service::serve_server_with_ct;
use rmcp::transport::streamable_http_server::session::{RestoreOutcome, SessionId, SessionManager as _};
use tokio::sync::{Mutex, MutexGuard};
use tracing::Instrument as _;

use super::bus::{BusError, Held, Kept, Record};
use super::{Session, SessionTransport, Sessions, SessionsError};
use crate::principal::Access;

/// For a copy to be made, and for each thing that it is told later.
const DEADLINE: Duration = Duration::from_secs(5);
/// Ids that nobody may use, and for how long they are known to be such.
const MAX_UNKNOWN: u64 = 10_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// Whether there is such a session, and whoever asks began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Here,
    Nowhere,
    /// Nobody can say now.
    Away,
}

/// One at a time makes a copy of a session. There are a few turns for all of them, so that ids cost nothing.
pub(super) struct Turns([Mutex<()>; 64]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    #[expect(clippy::cast_possible_truncation, reason = "the remainder of 64")]
    async fn of(&self, id: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let turn = (hasher.finish() % self.0.len() as u64) as usize;
        self.0[turn].lock().await
    }
}

pub(super) fn unknown() -> moka::sync::Cache<String, ()> {
    moka::sync::Cache::builder()
        .max_capacity(MAX_UNKNOWN)
        .time_to_live(UNKNOWN_FOR)
        .build()
}

impl<H: ServerHandler> Sessions<H> {
    /// Looks here and then among what replicas share, and makes a copy of what is only there.
    pub async fn find(self: &Arc<Self>, id: &str, access: &Access) -> Found {
        if let Some(found) = self.find_here(id, access) {
            return found;
        }
        if !is_session_id(id) || self.unknown.contains_key(id) {
            return Found::Nowhere;
        }
        let _turn = self.restoring.of(id).await;
        if let Some(found) = self.find_here(id, access) {
            return found;
        }
        match self.bus.find(id).await {
            Ok(Some(record)) if record.owner == *access.principal => {
                // In a task of its own: who asks may go away, and must not leave half a copy behind.
                let taking_over = self.clone().take_over(id.into(), record, access.clone());
                let taken_over = self.tasks.spawn(taking_over.in_current_span());
                taken_over.await.unwrap_or(Found::Away)
            }
            Ok(Some(_)) => Found::Nowhere,
            Ok(None) => {
                self.unknown.insert(id.to_owned(), ());
                Found::Nowhere
            }
            Err(error) => {
                tracing::debug!(%error, "whether there is a session can't be asked now");
                Found::Away
            }
        }
    }

    fn find_here(&self, id: &str, access: &Access) -> Option<Found> {
        let session = self.copy(id)?;
        Some(if *session.owner == *access.principal {
            Found::Here
        } else {
            Found::Nowhere
        })
    }

    async fn take_over(self: Arc<Self>, id: SessionId, record: Record, access: Access) -> Found {
        let restored = tokio::time::timeout(DEADLINE, self.restore(id.clone(), record, &access)).await;
        let error = match restored.unwrap_or(Err(SessionsError::Halfway)) {
            Ok(()) => return Found::Here,
            Err(error) => error,
        };
        self.drop_copy(&id).await;
        if let Err(error) = self.inner.close_session(&id).await {
            tracing::warn!(%error, "half a copy of a session could not be closed");
        }
        if matches!(error, SessionsError::Bus(BusError::Unknown)) {
            return Found::Nowhere;
        }
        tracing::warn!(%error, "a session could not be taken over from another replica");
        Found::Away
    }

    async fn restore(
        self: &Arc<Self>,
        id: SessionId,
        record: Record,
        access: &Access,
    ) -> Result<(), SessionsError> {
        // First, so that it is told whatever happens from now on.
        match self.bus.hold(&id).await? {
            Held::Here => {}
            Held::Unknown | Held::Ended => return Err(BusError::Unknown.into()),
        }
        let RestoreOutcome::Restored(transport) = self.inner.restore_session(id.clone()).await? else {
            // A copy of which only rmcp knew is on its way out.
            return Err(SessionsError::Halfway);
        };
        let session = Arc::new(Session::new(id.clone(), access.clone(), self.stop.child_token()));
        session.has_opened(record.opening.clone());
        let transport = SessionTransport::new(transport, session.clone(), self.bus.clone());
        self.serve(id.clone(), transport);
        self.shake_hands(&session, &record.opening).await?;
        for request in record.kept.values() {
            self.replay(&session, request).await?;
        }
        session.has_kept(record.kept.clone());
        self.make_room(&session).await;
        self.count();
        // From here on it is told. What was set while it was made it was not.
        let now = self.bus.find(&id).await?.ok_or(BusError::Unknown)?;
        if record.kept.keys().any(|name| !now.kept.contains_key(name)) {
            return Err(SessionsError::Halfway);
        }
        for (name, request) in now.kept {
            if record.kept.get(&name) != Some(&request) {
                session.has_set(&Kept {
                    name,
                    request: request.clone(),
                    takes_back: false,
                });
                self.replay(&session, &request).await?;
            }
        }
        Ok(())
    }

    /// As rmcp does for a session that begins here.
    fn serve(self: &Arc<Self>, id: SessionId, transport: SessionTransport) {
        let (sessions, service) = (self.clone(), (self.factory)());
        let serving = async move {
            match serve_server_with_ct(service, transport, sessions.kill.child_token()).await {
                Ok(service) => {
                    // Why it ended is known to whoever ended it.
                    let _reason = service.waiting().await;
                }
                Err(error) => tracing::warn!(%error, "a session could not be taken over"),
            }
            sessions.copy_has_ended(&id).await;
        };
        self.tasks.spawn(serving.in_current_span());
    }

    async fn shake_hands(&self, session: &Session, opening: &str) -> Result<(), SessionsError> {
        let initialize = InitializeRequest::new(serde_json::from_str(opening).map_err(BusError::from)?);
        let request = in_the_name_of(
            session,
            ClientRequest::InitializeRequest(initialize),
            RequestId::Number(0),
        );
        self.inner.initialize_session(&session.id, request).await?;
        let initialized = InitializedNotification::default();
        let mut notification = ClientNotification::InitializedNotification(initialized);
        notification.extensions_mut().insert(parts(session));
        let message = ClientJsonRpcMessage::notification(notification);
        Ok(self.inner.accept_message(&session.id, message).await?)
    }

    /// Tells a copy what the client has told another one. What it says to that is of no interest.
    pub(super) async fn replay(&self, session: &Session, request: &str) -> Result<(), SessionsError> {
        let request: ClientJsonRpcMessage = serde_json::from_str(request).map_err(BusError::from)?;
        let ClientJsonRpcMessage::Request(request) = request else {
            return Ok(());
        };
        // Not one that a client may be using.
        let id = RequestId::String(format!("{}.{}", self.bus.replica(), random_uuid().simple()).into());
        let message = in_the_name_of(session, request.request, id);
        let replaying = async {
            let mut answers = std::pin::pin!(self.inner.create_stream(&session.id, message).await?);
            while answers.next().await.is_some() {}
            Ok(())
        };
        match tokio::time::timeout(DEADLINE, replaying).await {
            Ok(replayed) => replayed,
            Err(_) => Err(SessionsError::Halfway),
        }
    }
}

/// As rmcp writes them, which are UUIDs: what looks otherwise was never a session's.
fn is_session_id(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn in_the_name_of(session: &Session, mut request: ClientRequest, id: RequestId) -> ClientJsonRpcMessage {
    request.extensions_mut().insert(parts(session));
    ClientJsonRpcMessage::request(request, id)
}

/// What a server object is told of the request that a message came with: who sends it.
fn parts(session: &Session) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.extensions.insert(session.access.clone());
    parts
}
