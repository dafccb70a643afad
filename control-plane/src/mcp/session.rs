//! Sessions of the legacy era, on this replica. rmcp's own manager runs them; this one adds what it lacks:
//!
//! - a session is bound to who began it, and at most so many are open;
//! - it expires when nothing happens in it, and a quiet call is not nothing;
//! - a client that reads neither its GET stream nor its progress holds up nobody, itself included;
//! - a client that opens its GET stream anew gets it, though the server has not noticed the end of the old one.

mod activity;
mod outbox;
mod streams;
mod transport;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::Stream;
use parking_lot::Mutex;
use rmcp::model::{ClientJsonRpcMessage, GetMeta as _, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::activity::Activity;
use self::outbox::Outbox;
use self::streams::Progress;
use self::transport::SessionTransport;
use super::http::in_front;
use crate::metric_names;
use crate::principal::Principal;
use crate::registry::cache::ToolCache;

pub(super) struct Sessions {
    inner: LocalSessionManager,
    open: Mutex<Open>,
    cache: Arc<ToolCache>,
    max: usize,
    ttl: Duration,
    stop: CancellationToken,
}

type Open = HashMap<SessionId, Arc<Session>>;

/// What is known of one session beside rmcp's own state.
struct Session {
    owner: Arc<Principal>,
    activity: Activity,
    outbox: Arc<Outbox>,
    progress: Progress,
    /// Cancelled when the session ends, and its GET stream with it.
    ended: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionsError {
    #[error("{max} sessions are open, the most allowed, and none of them is idle")]
    Full { max: usize },
    #[error("a session can't begin outside of a request, whose sender it would belong to")]
    Unowned,
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
}

impl Sessions {
    /// Sessions expire after `ttl` without anything happening; the lifecycle runs what looks for those.
    /// What each tenant may have the cache knows.
    pub(super) fn start(
        max: usize,
        ttl: Duration,
        cache: Arc<ToolCache>,
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let mut inner = LocalSessionManager::default();
        // It would end a session in the middle of a quiet call.
        inner.session_config.keep_alive = None;
        let sessions = Arc::new(Self {
            inner,
            open: Mutex::default(),
            cache,
            max,
            ttl,
            stop: lifecycle.soft().clone(),
        });
        lifecycle.spawn(expire_idle(sessions.clone()));
        sessions
    }

    /// Whether there is such a session and this one began it.
    pub(super) fn is_own(&self, id: &str, principal: &Principal) -> bool {
        self.open
            .lock()
            .get(id)
            .is_some_and(|session| *session.owner == *principal)
    }

    fn session(&self, id: &SessionId) -> Result<Arc<Session>, LocalSessionManagerError> {
        let session = self.open.lock().get(id).cloned();
        session.ok_or_else(|| LocalSessionManagerError::SessionNotFound(id.clone()))
    }

    /// How many a tenant may have. While that can't be had, the defaults hold.
    async fn most(&self, tenant: &TenantId) -> usize {
        let limit = match self.cache.tools(tenant).await {
            Ok(tools) => tools.tenant().limits.max_sessions,
            Err(_) => self.cache.defaults().limits.max_sessions,
        };
        limit as usize
    }

    /// The session that must go to let another one of that tenant in, which may have `most`: of the idle ones, of the
    /// tenant with the most sessions, the one that has been so the longest. A tenant takes no place from one that has
    /// fewer than itself.
    fn to_evict(
        &self,
        open: &Open,
        tenant: &TenantId,
        most: usize,
    ) -> Result<Option<SessionId>, SessionsError> {
        let own = || open.iter().filter(|(_, session)| session.owner.tenant == *tenant);
        if open.len() >= most && own().count() >= most {
            let idle = own().filter_map(|(id, session)| Some((session.activity.idle_since()?, id)));
            let longest = idle.min_by_key(|(since, _)| *since);
            return longest
                .map(|(_, id)| Some(id.clone()))
                .ok_or(SessionsError::Full { max: most });
        }
        if open.len() < self.max {
            return Ok(None);
        }
        let mut counts: HashMap<&TenantId, usize> = HashMap::new();
        for session in open.values() {
            *counts.entry(&session.owner.tenant).or_default() += 1;
        }
        let of = |tenant| counts.get(tenant).copied().unwrap_or(0);
        let candidates = open.iter().filter_map(|(id, session)| {
            let count = of(&session.owner.tenant);
            (count >= of(tenant)).then_some((Reverse(count), session.activity.idle_since()?, id))
        });
        let longest = candidates.min_by_key(|(count, since, _)| (*count, *since));
        longest
            .map(|(_, _, id)| Some(id.clone()))
            .ok_or(SessionsError::Full { max: self.max })
    }

    /// Under one lock, so that sessions which begin at once are not more than there may be. Answers which one must go.
    fn let_in(
        &self,
        id: &SessionId,
        session: &Arc<Session>,
        most: usize,
    ) -> Result<Option<SessionId>, SessionsError> {
        let mut open = self.open.lock();
        let evicted = self.to_evict(&open, &session.owner.tenant, most)?;
        if let Some(evicted) = &evicted
            && let Some(gone) = open.remove(evicted)
        {
            gone.ended.cancel();
        }
        open.insert(id.clone(), session.clone());
        Ok(evicted)
    }

    fn expired(&self, now: Instant) -> Vec<SessionId> {
        let open = self.open.lock();
        let is_expired = |session: &Session| {
            session
                .activity
                .idle_since()
                .is_some_and(|since| now.duration_since(since) >= self.ttl)
        };
        open.iter()
            .filter(|(_, session)| is_expired(session))
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn count(&self) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a double, and there are fewer than 2^52"
        )]
        metrics::gauge!(metric_names::HTTP_SESSIONS_ACTIVE).set(self.open.lock().len() as f64);
    }

    fn standalone_stream(
        &self,
        session: &Session,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + use<> {
        let reading = session.activity.reading();
        session.outbox.read(reading, session.ended.clone())
    }
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let owner = in_front::principal().ok_or(SessionsError::Unowned)?;
        let most = self.most(&owner.tenant).await;
        let (id, transport) = self.inner.create_session().await?;
        let session = Arc::new(Session {
            owner,
            activity: Activity::default(),
            outbox: Arc::default(),
            progress: Progress::default(),
            ended: self.stop.child_token(),
        });
        match self.let_in(&id, &session, most) {
            Ok(None) => {}
            Ok(Some(evicted)) => {
                metrics::counter!(metric_names::HTTP_SESSIONS_EXPIRED).increment(1);
                self.close_session(&evicted).await?;
            }
            Err(full) => {
                in_front::note_full();
                self.inner.close_session(&id).await?;
                return Err(full);
            }
        }
        metrics::counter!(metric_names::HTTP_SESSIONS_CREATED).increment(1);
        self.count();
        Ok((id, SessionTransport::new(transport, session)))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        Ok(self.inner.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.open.lock().contains_key(id))
    }

    /// rmcp calls it for DELETE and when a session has ended by itself.
    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        if let Some(session) = self.open.lock().remove(id) {
            session.ended.cancel();
        }
        self.count();
        Ok(self.inner.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let session = self.session(id)?;
        session.activity.touch();
        let token = match &message {
            ClientJsonRpcMessage::Request(request) => request.request.get_meta().get_progress_token(),
            _ => None,
        };
        let reader = token.map(|token| session.progress.reader(token));
        let stream = self.inner.create_stream(id, message).await?;
        Ok(streams::counted(stream, reader))
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        self.session(id)?.activity.touch();
        Ok(self.inner.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let session = self.session(id)?;
        Ok(self.standalone_stream(&session))
    }

    /// The stream of one request goes on where it was left; the GET stream keeps what was not read.
    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        use futures::StreamExt as _;
        let session = self.session(id)?;
        session.activity.touch();
        if last_event_id.contains('/') {
            Ok(self.inner.resume(id, last_event_id).await?.left_stream())
        } else {
            Ok(self.standalone_stream(&session).right_stream())
        }
    }
}

async fn expire_idle(sessions: Arc<Sessions>) {
    let every = (sessions.ttl / 4).clamp(Duration::from_millis(250), Duration::from_secs(30));
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = sessions.stop.cancelled() => return,
            now = tick.tick() => {
                for id in sessions.expired(now) {
                    metrics::counter!(metric_names::HTTP_SESSIONS_EXPIRED).increment(1);
                    if let Err(error) = sessions.close_session(&id).await {
                        tracing::warn!(%error, "an expired session could not be closed");
                    }
                }
            }
        }
    }
}
