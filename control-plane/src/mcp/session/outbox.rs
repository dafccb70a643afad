//! What a session says without being asked, where no other replica can keep it. It waits here until the client's GET
//! stream takes it, in bounded space, so that a client which does not read costs a few messages and holds up nothing.

use std::borrow::Cow;
use std::collections::VecDeque;

use parking_lot::Mutex;
use rmcp::model::{JsonRpcNotification, ServerJsonRpcMessage, ServerNotification};
use tokio::sync::Notify;

/// Messages that wait for a reader; the oldest give way.
const MAX_WAITING: usize = 64;

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<ServerJsonRpcMessage>,
    /// The newest reader; those before it end, since a message goes to one stream only.
    reader: u64,
}

pub(super) enum Next {
    Message(Box<ServerJsonRpcMessage>),
    Nothing,
    /// Another stream has taken over.
    Replaced,
}

impl Outbox {
    /// Never waits. That something has changed is said once, however often it did.
    pub(super) fn push(&self, message: ServerJsonRpcMessage) {
        {
            let mut state = self.state.lock();
            let what = changed(&message);
            if what.is_some() && state.waiting.iter().any(|waiting| changed(waiting) == what) {
                return;
            }
            if state.waiting.len() >= MAX_WAITING {
                state.drop_one();
            }
            state.waiting.push_back(message);
        }
        self.changed.notify_waiters();
    }

    /// Takes over from the reader before.
    pub(super) fn claim(&self) -> u64 {
        let reader = {
            let mut state = self.state.lock();
            state.reader += 1;
            state.reader
        };
        self.changed.notify_waiters();
        reader
    }

    pub(super) fn take(&self, reader: u64) -> Next {
        self.state.lock().next(reader)
    }

    /// Told whenever there may be something to take, here or at the other replicas.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }
}

impl State {
    fn next(&mut self, reader: u64) -> Next {
        if self.reader != reader {
            return Next::Replaced;
        }
        self.waiting
            .pop_front()
            .map_or(Next::Nothing, |message| Next::Message(Box::new(message)))
    }

    /// A log message rather than the word that something has changed.
    fn drop_one(&mut self) {
        let index = self
            .waiting
            .iter()
            .position(|message| changed(message).is_none())
            .unwrap_or(0);
        self.waiting.remove(index);
    }
}

/// What has changed, when that is all that a message says: once more says nothing new. A list by the method that says so, a
/// resource with its address.
pub(super) fn changed(message: &ServerJsonRpcMessage) -> Option<Cow<'static, str>> {
    let ServerJsonRpcMessage::Notification(JsonRpcNotification { notification, .. }) = message else {
        return None;
    };
    match notification {
        ServerNotification::ToolListChangedNotification(_) => Some("notifications/tools/list_changed".into()),
        ServerNotification::PromptListChangedNotification(_) => {
            Some("notifications/prompts/list_changed".into())
        }
        ServerNotification::ResourceListChangedNotification(_) => {
            Some("notifications/resources/list_changed".into())
        }
        ServerNotification::ResourceUpdatedNotification(updated) => {
            Some(format!("notifications/resources/updated {}", updated.params.uri).into())
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rmcp::model::{ErrorData, ToolListChangedNotification};

    use super::*;

    pub(in crate::mcp::session) fn tools_changed() -> ServerJsonRpcMessage {
        let changed = ToolListChangedNotification {
            method: Default::default(),
            extensions: Default::default(),
        };
        ServerJsonRpcMessage::notification(ServerNotification::ToolListChangedNotification(changed))
    }

    fn other() -> ServerJsonRpcMessage {
        ServerJsonRpcMessage::error(ErrorData::internal_error("any", None), None)
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_never_costs_the_word_that_tools_changed() {
        let outbox = Outbox::default();
        outbox.push(tools_changed());
        for _ in 0..1_000 {
            outbox.push(other());
            outbox.push(tools_changed());
        }
        let state = outbox.state.lock();
        assert_eq!(state.waiting.len(), MAX_WAITING);
        let told = state.waiting.iter().filter(|message| changed(message).is_some());
        assert_eq!(told.count(), 1);
    }
}
