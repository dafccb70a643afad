//! What streams of events have in common, and whose progress they tell.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use parking_lot::Mutex;
use rmcp::model::{JsonRpcNotification, ProgressToken, ServerJsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

/// The progress tokens of requests that have no answer yet. What comes with another one has nowhere to go.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<HashMap<ProgressToken, usize>>>);

impl Progress {
    pub(super) fn expect(&self, token: ProgressToken) -> Expected {
        *self.0.lock().entry(token.clone()).or_default() += 1;
        Expected {
            token,
            progress: self.clone(),
        }
    }

    pub(super) fn is_expected(&self, token: &ProgressToken) -> bool {
        self.0.lock().contains_key(token)
    }
}

/// While it lives, progress with its token is sent.
#[derive(Debug)]
pub(super) struct Expected {
    token: ProgressToken,
    progress: Progress,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut tokens = self.progress.0.lock();
        if let Some(count) = tokens.get_mut(&self.token) {
            *count -= 1;
            // A client may use a token twice at once.
            if *count == 0 {
                tokens.remove(&self.token);
            }
        }
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
    use rmcp::model::NumberOrString;

    use super::*;

    #[test]
    fn a_token_is_expected_until_the_last_request_with_it_has_its_answer() {
        let progress = Progress::default();
        let token = ProgressToken(NumberOrString::Number(7));
        let first = progress.expect(token.clone());
        let second = progress.expect(token.clone());
        drop(first);
        assert!(progress.is_expected(&token));
        drop(second);
        assert!(!progress.is_expected(&token));
    }
}
