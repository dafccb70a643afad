//! Whether anything happens in a session.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, JsonRpcNotification, RequestId, ServerJsonRpcMessage,
};
use tokio::time::Instant;

/// Longer than any call may take. A request that is still without an answer then will never have one.
const LOST_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Instant,
    /// Requests without an answer.
    running: HashSet<RequestId>,
    /// Open GET streams.
    readers: usize,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            last: Instant::now(),
            running: HashSet::new(),
            readers: 0,
        })))
    }
}

impl Activity {
    pub(super) fn touch(&self) {
        self.0.lock().last = Instant::now();
    }

    /// Whether a request of the client's is without an answer.
    pub(super) fn is_running(&self, id: &RequestId) -> bool {
        self.0.lock().running.contains(id)
    }

    /// Whether any is.
    pub(super) fn runs(&self) -> bool {
        !self.0.lock().running.is_empty()
    }

    pub(super) fn last(&self) -> Instant {
        self.0.lock().last
    }

    /// Since when nothing has happened; `None` while something does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.0.lock();
        let runs = !state.running.is_empty() && state.last.elapsed() < LOST_AFTER;
        (!runs && state.readers == 0).then_some(state.last)
    }

    pub(super) fn received(&self, message: &ClientJsonRpcMessage) {
        let mut state = self.0.lock();
        state.last = Instant::now();
        match message {
            ClientJsonRpcMessage::Request(request) => {
                state.running.insert(request.id.clone());
            }
            // A cancelled request gets no answer.
            ClientJsonRpcMessage::Notification(JsonRpcNotification {
                notification: ClientNotification::CancelledNotification(cancelled),
                ..
            }) => {
                if let Some(id) = &cancelled.params.request_id {
                    state.running.remove(id);
                }
            }
            _ => {}
        }
    }

    pub(super) fn answered(&self, message: &ServerJsonRpcMessage) {
        let id = match message {
            ServerJsonRpcMessage::Response(response) => Some(&response.id),
            ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        if let Some(id) = id {
            let mut state = self.0.lock();
            state.running.remove(id);
            state.last = Instant::now();
        }
    }

    /// Holds the session open until it is dropped.
    pub(super) fn reading(&self) -> Reading {
        self.0.lock().readers += 1;
        Reading(self.clone())
    }
}

pub(super) struct Reading(Activity);

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.readers -= 1;
        state.last = Instant::now();
    }
}
