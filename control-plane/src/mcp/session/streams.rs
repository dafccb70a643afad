//! The stream of one request. The worker of a session waits for each stream that it writes to, so progress that nobody
//! reads must not get that far; and what a client may name later carries the replica's name.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use dynamic_mcp_shared::ids::ReplicaId;
use futures::Stream;
use parking_lot::Mutex;
use rmcp::model::{JsonRpcNotification, ProgressToken, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

use super::names;

/// Progress messages of one request that may be unread: fewer than the 16 messages for which a stream has room.
const MAX_UNREAD: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<HashMap<ProgressToken, Unread>>>);

type Unread = Arc<AtomicUsize>;

impl Progress {
    /// The stream of a request with this token is about to be read.
    pub(super) fn reader(&self, token: ProgressToken) -> Reader {
        let unread = Unread::default();
        self.0.lock().insert(token.clone(), unread.clone());
        Reader {
            token,
            unread,
            progress: self.clone(),
        }
    }

    /// Whether a message with this token may be sent now; counts it if so.
    pub(super) fn admit(&self, token: &ProgressToken) -> bool {
        let Some(unread) = self.0.lock().get(token).cloned() else {
            return false;
        };
        unread
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < MAX_UNREAD).then_some(count + 1)
            })
            .is_ok()
    }
}

/// While it lives, progress with its token is sent.
#[derive(Debug)]
pub(super) struct Reader {
    token: ProgressToken,
    unread: Unread,
    progress: Progress,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut tokens = self.progress.0.lock();
        // A client may use a token again.
        if tokens
            .get(&self.token)
            .is_some_and(|unread| Arc::ptr_eq(unread, &self.unread))
        {
            tokens.remove(&self.token);
        }
    }
}

/// The stream, counting the progress that is read from it, its events named after the replica.
pub(super) fn of_request<S>(
    stream: S,
    reader: Option<Reader>,
    replica: ReplicaId,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync
where
    S: Stream<Item = ServerSseMessage> + Send + Sync + 'static,
{
    OfRequest {
        stream: Box::pin(stream),
        reader,
        replica,
    }
}

/// The stream, where two threads may have it though only one at a time reads it.
pub(super) fn shareable<S>(stream: S) -> impl Stream<Item = ServerSseMessage> + Send + Sync
where
    S: Stream<Item = ServerSseMessage> + Send + 'static,
{
    Shareable(Mutex::new(Box::pin(stream)))
}

struct Shareable<S>(Mutex<Pin<Box<S>>>);

impl<S: Stream<Item = ServerSseMessage>> Stream for Shareable<S> {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.get_mut().as_mut().poll_next(cx)
    }
}

struct OfRequest<S> {
    stream: Pin<Box<S>>,
    reader: Option<Reader>,
    replica: ReplicaId,
}

impl<S: Stream<Item = ServerSseMessage>> Stream for OfRequest<S> {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut polled = self.stream.as_mut().poll_next(cx);
        if let Poll::Ready(Some(event)) = &mut polled {
            let replica = &self.replica;
            event.event_id = event.event_id.take().map(|id| names::event(replica, &id));
        }
        if let (Poll::Ready(Some(event)), Some(reader)) = (&polled, &self.reader)
            && event
                .message
                .as_deref()
                .is_some_and(|message| progress_token(message).is_some())
        {
            reader.unread.fetch_sub(1, Ordering::Relaxed);
        }
        polled
    }
}

/// Whose progress a message tells.
pub(super) fn progress_token(message: &ServerJsonRpcMessage) -> Option<&ProgressToken> {
    match message {
        ServerJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ServerNotification::ProgressNotification(progress),
            ..
        }) => Some(&progress.params.progress_token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{NumberOrString, ProgressNotification, ProgressNotificationParam};

    use super::*;

    fn token() -> ProgressToken {
        ProgressToken(NumberOrString::Number(7))
    }

    #[test]
    fn unread_progress_is_bounded_and_goes_on_when_it_is_read() {
        let progress = Progress::default();
        assert!(!progress.admit(&token()), "nobody reads yet");
        let reader = progress.reader(token());
        let admitted = (0..50).filter(|_| progress.admit(&token())).count();
        assert_eq!(admitted, MAX_UNREAD);
        let message = ServerJsonRpcMessage::notification(ServerNotification::ProgressNotification(
            ProgressNotification::new(ProgressNotificationParam::new(token(), 1.0)),
        ));
        let events = futures::stream::iter([ServerSseMessage::from_message(message)]);
        let mut stream = std::pin::pin!(of_request(events, Some(reader), ReplicaId::generate()));
        let read = futures::executor::block_on(futures::StreamExt::next(&mut stream));
        assert!(read.is_some());
        assert!(progress.admit(&token()));
    }

    #[test]
    fn an_old_reader_does_not_end_a_new_one_with_the_same_token() {
        let progress = Progress::default();
        let old = progress.reader(token());
        let _new = progress.reader(token());
        drop(old);
        assert!(progress.admit(&token()));
    }
}
