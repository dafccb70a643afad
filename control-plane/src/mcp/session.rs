//! Sessions of the legacy era. rmcp runs them; this adds what it lacks:
//!
//! - a session goes on at any replica: each has a copy of those that came by, made anew from what all share;
//! - it is bound to who began it, and at most so many are open;
//! - it expires when nothing happens in it, and a quiet call is not nothing;
//! - a client that reads neither its GET stream nor its progress holds up nobody, itself included;
//! - a client that opens its GET stream anew gets it, though the server has not noticed the end of the old one.
//!
//! ```text
//! a request ──▶ runs where it lands ──▶ its answer goes back the same way
//! an answer to the server, progress ──▶ the replica that its id names      ┐
//! a cancellation, the end ──▶ every replica with a copy                    ├ over the bus
//! what is said without being asked ──▶ the replica with the GET stream     ┘
//! ```
//!
//! What replicas share may be away: a session goes on where there is a copy, and elsewhere its client is told to try again.

mod activity;
mod bus;
mod copy;
mod journal;
mod keeper;
mod mail;
mod names;
mod open;
mod outbox;
mod restore;
mod resumed;
mod standalone;
mod streams;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use rmcp::ServerHandler;
use rmcp::model::{ClientJsonRpcMessage, GetMeta as _, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::bus::{Alone, SessionBus, SharedSessions};
use self::bus::{BusError, Caps, Held};
use self::copy::Session;
use self::journal::Journals;
use self::open::Open;
pub use self::restore::Found;
use self::restore::Turns;
pub use self::transport::SessionTransport;
use super::http::in_front::{self, Refused};
use crate::metric_names;

/// Makes what serves one session or one stateless request.
pub type Factory<H> = Arc<dyn Fn() -> H + Send + Sync>;
/// How many sessions a tenant may have.
pub type Most = Arc<dyn Fn(TenantId) -> BoxFuture<'static, usize> + Send + Sync>;

/// What holds for all sessions.
pub struct SessionLimits {
    /// Sessions at once, of all replicas together.
    pub max: usize,
    pub most: Most,
    /// A session in which nothing happens for so long is closed.
    pub ttl: Duration,
}

impl SessionLimits {
    /// How often it is looked which sessions are in use, and which are idle for too long.
    pub fn look_every(ttl: Duration) -> Duration {
        (ttl / 4).clamp(Duration::from_millis(250), Duration::from_secs(15))
    }
}

/// The sessions of which this replica has a copy.
pub struct Sessions<H> {
    inner: LocalSessionManager,
    bus: Arc<dyn SessionBus>,
    open: Mutex<Open>,
    limits: SessionLimits,
    factory: Factory<H>,
    restoring: Turns,
    /// Strangers' and made-up ids, so that asking for them again costs nothing.
    unknown: moka::sync::Cache<String, ()>,
    journals: Arc<Journals>,
    relays: resumed::Relays,
    missed: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    #[error("{0} sessions are open, the most allowed, and none of them is idle")]
    Full(usize),
    #[error("a session can't begin outside of a request, whose sender it would belong to")]
    Unowned,
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
    #[error("a copy of a session could not be made in time")]
    Halfway,
    #[error("a message for other replicas has more than {0} bytes")]
    TooLarge(usize),
    #[error("the event is of no stream that there is")]
    NoSuchStream,
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl<H: ServerHandler> Sessions<H> {
    /// The lifecycle runs what looks for expired sessions and hears what other replicas say.
    pub fn start(
        limits: SessionLimits,
        factory: Factory<H>,
        bus: Arc<dyn SessionBus>,
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let mut inner = LocalSessionManager::default();
        // It would end a session in the middle of a quiet call.
        inner.session_config.keep_alive = None;
        let sessions = Arc::new(Self {
            inner,
            open: Mutex::default(),
            limits,
            factory,
            restoring: Turns::default(),
            unknown: restore::unknown(),
            journals: Arc::new(Journals::new(bus.replica().clone())),
            bus,
            relays: resumed::Relays::default(),
            missed: Notify::new(),
            tasks: TaskTracker::new(),
            stop: lifecycle.soft().clone(),
            kill: lifecycle.hard().clone(),
        });
        lifecycle.spawn(keeper::keep(sessions.clone()));
        lifecycle.spawn(mail::hear(sessions.clone()));
        sessions
    }

    /// At every replica. When the others can't be told it ends nowhere.
    async fn end(&self, session: &Session) -> Result<(), SessionsError> {
        self.bus.end(&session.id, &session.owner.tenant).await?;
        self.drop_copy(&session.id).await;
        Ok(())
    }

    /// What serves it has ended by itself, as all do when the replica stops. By then there may be another copy of the same
    /// session, which goes on.
    async fn copy_has_ended(&self, id: &str) {
        let Some(session) = self.copy(id).filter(|copy| copy.served.is_cancelled()) else {
            return;
        };
        self.drop_copy(&session.id).await;
        if let Err(error) = session.leave(&*self.bus).await {
            tracing::debug!(%error, session.id = %session.id, "other replicas could not be told that a copy is gone");
        }
    }

    fn copy(&self, id: &str) -> Option<Arc<Session>> {
        self.open.lock().get(id)
    }

    fn session(&self, id: &SessionId) -> Result<Arc<Session>, LocalSessionManagerError> {
        self.copy(id)
            .ok_or_else(|| LocalSessionManagerError::SessionNotFound(id.clone()))
    }

    fn count(&self) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a double, and there are fewer than 2^52"
        )]
        metrics::gauge!(metric_names::HTTP_SESSIONS_ACTIVE).set(self.open.lock().len() as f64);
    }

    /// Finds room for it among those of all replicas, or of this one while the others can't be asked.
    async fn let_in(&self, session: &Arc<Session>) -> Result<(), SessionsError> {
        let tenant = &session.owner.tenant;
        let caps = Caps {
            of_tenant: (self.limits.most)(tenant.clone()).await,
            in_all: self.limits.max,
        };
        match self.bus.admit(&session.id, tenant, caps).await {
            Ok(evicted) => {
                if let Some(evicted) = evicted {
                    metrics::counter!(metric_names::HTTP_SESSIONS_EXPIRED).increment(1);
                    if let Err(error) = self.bus.end(&evicted.id, &evicted.tenant).await {
                        tracing::warn!(%error, "a session that had to go for another could not be ended everywhere");
                    }
                    self.drop_copy(&evicted.id).await;
                }
                self.make_room(session).await;
                Ok(())
            }
            Err(BusError::Full(most)) => Err(SessionsError::Full(most)),
            Err(error) => {
                if !matches!(error, BusError::Alone) {
                    tracing::debug!(%error, "sessions are counted by this replica alone for now");
                }
                let evicted = self.open.lock().let_in(session, caps)?;
                if let Some(evicted) = evicted {
                    metrics::counter!(metric_names::HTTP_SESSIONS_EXPIRED).increment(1);
                    self.inner.close_session(&evicted).await?;
                }
                Ok(())
            }
        }
    }

    /// Copies cost memory of this replica: the one that is idle the longest gives way, and can be made again.
    async fn make_room(&self, session: &Arc<Session>) {
        let evicted = self.open.lock().insert_bounded(session, self.limits.max);
        if let Some(evicted) = evicted {
            self.drop_copy(&evicted).await;
        }
    }

    /// Of this replica only.
    async fn drop_copy(&self, id: &str) {
        let Some(session) = self.open.lock().remove(id) else {
            return;
        };
        session.ended.cancel();
        self.count();
        if let Err(error) = self.inner.close_session(&session.id).await {
            tracing::warn!(%error, "a session could not be closed");
        }
    }
}

impl<H: ServerHandler> SessionManager for Sessions<H> {
    type Error = SessionsError;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let front = in_front::current().ok_or(SessionsError::Unowned)?;
        let (id, transport) = self.inner.create_session().await?;
        let access = front.access().clone();
        let session = Arc::new(Session::new(id.clone(), access, self.stop.child_token()));
        if let Err(full) = self.let_in(&session).await {
            front.note(Refused::Full);
            self.inner.close_session(&id).await?;
            return Err(full);
        }
        metrics::counter!(metric_names::HTTP_SESSIONS_CREATED).increment(1);
        self.count();
        let transport = SessionTransport::new(transport, session, self.bus.clone());
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        let session = self.session(id)?;
        let opening = copy::opening(&message);
        let answer = self.inner.initialize_session(id, message).await?;
        if matches!(answer, ServerJsonRpcMessage::Response(_))
            && let Some(opening) = opening
        {
            session.has_opened(opening);
            // Before the client knows its id. While that can't be, it is a session of this replica, and told later.
            if let Err(error) = session.write(&*self.bus).await {
                tracing::warn!(%error, "a session begins that other replicas do not know yet");
            }
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.copy(id).is_some())
    }

    /// rmcp calls it for DELETE, and when what serves a session that began here has ended.
    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        let Some(front) = in_front::current() else {
            self.copy_has_ended(id).await;
            return Ok(());
        };
        let Some(session) = self.copy(id) else {
            return Ok(());
        };
        let ended = self.end(&session).await;
        ended.inspect_err(|_| front.note(Refused::Away))
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let session = self.session(id)?;
        session.activity.touch();
        session.may_keep(&message);
        let token = match &message {
            ClientJsonRpcMessage::Request(request) => request.request.get_meta().get_progress_token(),
            _ => None,
        };
        let expected = token.map(|token| session.progress.expect(token));
        let mut events = Box::pin(self.inner.create_stream(id, message).await?);
        let (journals, journal) = (self.journals.clone(), self.journals.begin(id.clone()));
        let stream = journal.read(None);
        self.tasks.spawn(async move {
            while let Some(event) = events.next().await {
                journals.write(&journal, event);
            }
            drop(expected);
            journals.end(&journal);
        });
        Ok(stream)
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        let session = self.session(id)?;
        session.activity.touch();
        let posted = self.post_on(&session, message).await;
        posted.inspect_err(|error| {
            let refused = match error {
                SessionsError::TooLarge(max_bytes) => Refused::TooLarge {
                    max_bytes: *max_bytes,
                },
                SessionsError::Bus(_) => Refused::Away,
                _ => return,
            };
            if let Some(front) = in_front::current() {
                front.note(refused);
            }
        })
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let session = self.session(id)?;
        Ok(standalone::open(self.bus.clone(), session, None).await)
    }

    /// The stream of one request goes on where it was left, at whichever replica it runs; the GET stream keeps what was not
    /// read.
    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let session = self.session(id)?;
        session.activity.touch();
        if !last_event_id.contains('/') {
            let stream = standalone::open(self.bus.clone(), session, Some(last_event_id)).await;
            return Ok(stream.left_stream());
        }
        let (replica, index, number) = names::of_event(&last_event_id).ok_or(SessionsError::NoSuchStream)?;
        if replica == *self.bus.replica() {
            let journal = self.journals.find(id, number, index);
            let stream = journal.ok_or(SessionsError::NoSuchStream)?.read(Some(index));
            return Ok(stream.left_stream().right_stream());
        }
        let stream = self.resumed_elsewhere(&session, replica, last_event_id).await?;
        Ok(stream.right_stream().right_stream())
    }
}
