//! What is known of one session beside rmcp's own state, at a replica that has a copy of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcRequest, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::SessionId;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::bus::{BusError, Held, Kept, Record, SessionBus, Use};
use super::outbox::Outbox;
use super::streams::Progress;
use crate::principal::{Access, Principal};

/// Things that one client may have set, subscriptions included.
const MAX_KEPT: usize = 100;

pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) owner: Arc<Principal>,
    /// Of whoever came here first, for what is done in the session's own name.
    pub(super) access: Access,
    pub(super) activity: Activity,
    pub(super) outbox: Outbox,
    pub(super) progress: Progress,
    /// Cancelled when the session ends, and its GET stream with it.
    pub(super) ended: CancellationToken,
    /// Cancelled when nothing serves this copy any more.
    pub(super) served: CancellationToken,
    /// As JSON, once its handshake is done.
    opening: Mutex<Option<String>>,
    kept: Mutex<BTreeMap<String, String>>,
    /// What requests set that have no answer yet.
    keeping: Mutex<HashMap<RequestId, Kept>>,
    /// Somebody said that a list has changed.
    changed: AtomicBool,
}

impl Session {
    pub(super) fn new(id: SessionId, access: Access, ended: CancellationToken) -> Self {
        Self {
            id,
            owner: access.principal.clone(),
            access,
            activity: Activity::default(),
            outbox: Outbox::default(),
            progress: Progress::default(),
            ended,
            served: CancellationToken::new(),
            opening: Mutex::default(),
            kept: Mutex::default(),
            keeping: Mutex::default(),
            changed: AtomicBool::default(),
        }
    }

    pub(super) fn has_opened(&self, opening: String) {
        *self.opening.lock() = Some(opening);
    }

    pub(super) fn has_kept(&self, kept: BTreeMap<String, String>) {
        *self.kept.lock() = kept;
    }

    /// Makes it known to the other replicas, once there is something to know.
    pub(super) async fn write(&self, bus: &dyn SessionBus) -> Result<Held, BusError> {
        let Some(opening) = self.opening.lock().clone() else {
            return Ok(Held::Unknown);
        };
        let record = Record {
            owner: (*self.owner).clone(),
            opening,
            kept: self.kept.lock().clone(),
        };
        bus.write(&self.id, &record).await
    }

    /// That there is no copy here any more. What never began is no session.
    pub(super) async fn leave(&self, bus: &dyn SessionBus) -> Result<(), BusError> {
        if self.opening.lock().is_some() {
            bus.leave(&self.id).await
        } else {
            bus.end(&self.id, &self.owner.tenant).await
        }
    }

    pub(super) async fn post(&self, bus: &dyn SessionBus, message: ServerJsonRpcMessage) {
        match bus.post(&self.id, &message).await {
            Ok(()) => {}
            Err(error) => {
                if !matches!(error, BusError::Alone) {
                    tracing::debug!(%error, "a message waits at this replica only");
                }
                self.outbox.push(message);
            }
        }
    }

    /// There may be something for its GET stream.
    pub(super) fn wake(&self, changed: bool) {
        if changed {
            self.changed.store(true, Ordering::Relaxed);
        }
        self.outbox.changed().notify_waiters();
    }

    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Remembers what a request sets, until it is known whether it does.
    pub(super) fn may_keep(&self, message: &ClientJsonRpcMessage) {
        if let Some((id, kept)) = sets(message) {
            let mut keeping = self.keeping.lock();
            if keeping.len() < MAX_KEPT {
                keeping.insert(id.clone(), kept);
            }
        }
    }

    /// What has been set by the request that this answers.
    pub(super) fn kept_by(&self, answer: &ServerJsonRpcMessage) -> Option<Kept> {
        match answer {
            ServerJsonRpcMessage::Response(response) => self.keeping.lock().remove(&response.id),
            ServerJsonRpcMessage::Error(error) => {
                let _failed = self.keeping.lock().remove(error.id.as_ref()?);
                None
            }
            _ => None,
        }
    }

    pub(super) async fn keep(&self, bus: &dyn SessionBus, kept: Kept) {
        if self.has_set(&kept)
            && let Err(error) = bus.keep(&self.id, kept).await
        {
            tracing::warn!(%error, "what a client has set holds at this replica only");
        }
    }

    /// Whether there is room for it.
    pub(super) fn has_set(&self, kept: &Kept) -> bool {
        let mut all = self.kept.lock();
        if kept.takes_back {
            all.remove(&kept.name);
            return true;
        }
        if all.len() >= MAX_KEPT && !all.contains_key(&kept.name) {
            return false;
        }
        all.insert(kept.name.clone(), kept.request.clone());
        true
    }

    pub(super) fn used(&self) -> Use<'_> {
        Use {
            id: &self.id,
            tenant: &self.owner.tenant,
            idle: self.idle_for(),
        }
    }

    /// `None` while it is in use.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.activity.idle_since().map(|since| since.elapsed())
    }
}

/// What its `initialize` said, for other replicas; nothing of a message that is another one.
pub(super) fn opening(message: &ClientJsonRpcMessage) -> Option<String> {
    match message {
        ClientJsonRpcMessage::Request(JsonRpcRequest {
            request: ClientRequest::InitializeRequest(initialize),
            ..
        }) => serde_json::to_string(&initialize.params).ok(),
        _ => None,
    }
}

/// A request that sets something for all requests of its session, and what.
fn sets(message: &ClientJsonRpcMessage) -> Option<(&RequestId, Kept)> {
    let ClientJsonRpcMessage::Request(request) = message else {
        return None;
    };
    let (name, takes_back) = match &request.request {
        ClientRequest::SetLevelRequest(_) => ("logging/setLevel".to_owned(), false),
        ClientRequest::SubscribeRequest(subscribe) => {
            (format!("resources/subscribe {}", subscribe.params.uri), false)
        }
        ClientRequest::UnsubscribeRequest(unsubscribe) => {
            (format!("resources/subscribe {}", unsubscribe.params.uri), true)
        }
        _ => return None,
    };
    // What its client adds to it, which may be much, says nothing about what it sets.
    let mut bare = serde_json::to_value(message).ok()?;
    bare.get_mut("params")?.as_object_mut()?.remove("_meta");
    let kept = Kept {
        name,
        request: bare.to_string(),
        takes_back,
    };
    Some((&request.id, kept))
}
