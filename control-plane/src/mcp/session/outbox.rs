//! What a session says without being asked. It waits here until the client's GET stream takes it, in bounded space, so
//! that a client which does not read costs a few messages and holds up nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use parking_lot::Mutex;
use rmcp::model::{JsonRpcNotification, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::activity::Reading;

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

enum Next {
    Message(Box<ServerJsonRpcMessage>),
    Nothing,
    /// Another stream has taken over.
    Replaced,
}

impl Outbox {
    /// Never waits. That the list of tools changed is said once, however often it did.
    pub(super) fn push(&self, message: ServerJsonRpcMessage) {
        {
            let mut state = self.state.lock();
            if is_list_changed(&message) && state.waiting.iter().any(is_list_changed) {
                return;
            }
            if state.waiting.len() >= MAX_WAITING {
                state.drop_one();
            }
            state.waiting.push_back(message);
        }
        self.changed.notify_waiters();
    }

    /// Takes over from the reader before, until the stream is dropped or `stop` is cancelled.
    pub(super) fn read(
        self: &Arc<Self>,
        reading: Reading,
        stop: CancellationToken,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + use<> {
        let reader = {
            let mut state = self.state.lock();
            state.reader += 1;
            state.reader
        };
        self.changed.notify_waiters();
        let state = (self.clone(), reading, stop);
        futures::stream::unfold(state, move |(outbox, reading, stop)| async move {
            let message = tokio::select! {
                () = stop.cancelled() => None,
                message = outbox.next(reader) => message,
            };
            message.map(|message| (ServerSseMessage::from_message(message), (outbox, reading, stop)))
        })
    }

    async fn next(&self, reader: u64) -> Option<ServerJsonRpcMessage> {
        loop {
            // Before the look, so that what comes between the look and the wait is noticed.
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.state.lock().next(reader) {
                Next::Message(message) => return Some(*message),
                Next::Replaced => return None,
                Next::Nothing => {}
            }
            changed.await;
        }
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

    /// A log message rather than the word that the tools changed.
    fn drop_one(&mut self) {
        let index = self
            .waiting
            .iter()
            .position(|message| !is_list_changed(message))
            .unwrap_or(0);
        self.waiting.remove(index);
    }
}

fn is_list_changed(message: &ServerJsonRpcMessage) -> bool {
    matches!(
        message,
        ServerJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ServerNotification::ToolListChangedNotification(_),
            ..
        })
    )
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use rmcp::model::{ErrorData, ToolListChangedNotification};

    use super::*;
    use crate::mcp::session::activity::Activity;

    fn list_changed() -> ServerJsonRpcMessage {
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
        outbox.push(list_changed());
        for _ in 0..1_000 {
            outbox.push(other());
            outbox.push(list_changed());
        }
        let state = outbox.state.lock();
        assert_eq!(state.waiting.len(), MAX_WAITING);
        assert_eq!(
            state
                .waiting
                .iter()
                .filter(|message| is_list_changed(message))
                .count(),
            1
        );
    }

    #[tokio::test]
    async fn a_reader_ends_when_another_one_takes_over_and_loses_nothing() {
        let (outbox, activity) = (Arc::new(Outbox::default()), Activity::default());
        let stop = CancellationToken::new();
        let mut old = Box::pin(outbox.read(activity.reading(), stop.clone()));
        let mut new = Box::pin(outbox.read(activity.reading(), stop.clone()));
        outbox.push(list_changed());
        assert!(old.next().await.is_none());
        assert!(new.next().await.is_some());
        assert_eq!(activity.idle_since(), None);
        stop.cancel();
        assert!(new.next().await.is_none());
        drop((old, new));
        assert!(activity.idle_since().is_some());
    }
}
