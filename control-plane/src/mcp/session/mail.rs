//! What goes to copies of a session at other replicas, and what comes from there.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use rmcp::ServerHandler;
use rmcp::model::{ClientJsonRpcMessage, ClientNotification, JsonRpcNotification, RequestId};
use rmcp::transport::streamable_http_server::session::SessionManager as _;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::bus::{Content, Letter, News};
use super::names::{self, For};
use super::{BusError, Session, Sessions, SessionsError};

/// For what one letter is about.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of a message that goes to other replicas, through what all share.
const MAX_BYTES: usize = 1 << 20;
/// Letters that are being dealt with: a session that takes none must not hold up the others.
const AT_ONCE: usize = 1_000;
/// How often a replica that stops looks whether somebody still waits for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Hears the other replicas until nobody here waits for anything any more.
pub(super) async fn hear<H: ServerHandler>(sessions: Arc<Sessions<H>>) {
    let mut news = sessions.bus.news();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let hearing = async {
        while let Some(some) = news.next().await {
            match some {
                News::Listening => sessions.look_again(),
                News::Posted { session, changed } => {
                    if let Some(session) = sessions.copy(&session) {
                        session.wake(changed);
                    }
                }
                News::Relayed { token } => sessions.relays.wake(&token),
                News::Letters(letters) => {
                    for letter in letters {
                        let Ok(permit) = at_once.clone().try_acquire_owned() else {
                            tracing::warn!("too much comes from other replicas at once; some of it is lost");
                            break;
                        };
                        let reader = sessions.clone();
                        let reading = async move {
                            reader.read(letter).await;
                            drop(permit);
                        };
                        sessions.tasks.spawn(reading.in_current_span());
                    }
                }
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = nobody_waits(&sessions) => {}
        () = sessions.kill.cancelled() => {}
    }
}

async fn nobody_waits<H: ServerHandler>(sessions: &Sessions<H>) {
    sessions.stop.cancelled().await;
    while sessions.all().iter().any(|session| session.activity.runs()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl<H: ServerHandler> Sessions<H> {
    /// Takes a message of the client that gets no answer to where it is waited for.
    pub(super) async fn post_on(
        &self,
        session: &Session,
        mut message: ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        if let Some(cancelled) = cancelled(&message)
            && !session.activity.is_running(cancelled)
        {
            return self.tell_copies(session, &message).await;
        }
        match names::incoming(self.bus.replica(), &mut message) {
            For::This => Ok(self.inner.accept_message(&session.id, message).await?),
            For::Other(replica) => {
                let letter = letter(session, &message)?;
                if !self.bus.send(&replica, &letter).await? {
                    tracing::debug!("an answer is for a replica that is gone");
                }
                Ok(())
            }
            For::Nobody => {
                tracing::debug!("an answer is for nobody");
                Ok(())
            }
        }
    }

    async fn tell_copies(
        &self,
        session: &Session,
        message: &ClientJsonRpcMessage,
    ) -> Result<(), SessionsError> {
        Ok(self.bus.tell_copies(&letter(session, message)?).await?)
    }

    async fn read(&self, letter: Letter) {
        match tokio::time::timeout(DEADLINE, self.do_what_it_says(letter)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "what another replica said of a session could not be done")
            }
            Err(_) => tracing::warn!("what another replica said of a session could not be done in time"),
        }
    }

    async fn do_what_it_says(&self, letter: Letter) -> Result<(), SessionsError> {
        let Letter { session: id, content } = letter;
        match content {
            Content::Message(message) => {
                let Some(session) = self.copy(&id) else {
                    return Ok(());
                };
                let mut message = serde_json::from_str(&message).map_err(BusError::from)?;
                session.activity.touch();
                match names::incoming(self.bus.replica(), &mut message) {
                    For::This => Ok(self.inner.accept_message(&session.id, message).await?),
                    For::Other(_) | For::Nobody => Ok(()),
                }
            }
            Content::Kept(kept) => {
                let Some(session) = self.copy(&id) else {
                    return Ok(());
                };
                session.has_set(&kept);
                self.replay(&session, &kept.request).await
            }
            Content::Ended => {
                self.drop_copy(&id).await;
                Ok(())
            }
            Content::Resume {
                last_event_id,
                to,
                token,
            } => {
                self.send_rest(id, &last_event_id, to, token);
                Ok(())
            }
        }
    }
}

fn cancelled(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
    match message {
        ClientJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ClientNotification::CancelledNotification(cancelled),
            ..
        }) => cancelled.params.request_id.as_ref(),
        _ => None,
    }
}

fn letter(session: &Session, message: &ClientJsonRpcMessage) -> Result<Letter, SessionsError> {
    let message = serde_json::to_string(message).map_err(BusError::from)?;
    if message.len() > MAX_BYTES {
        return Err(SessionsError::TooLarge(MAX_BYTES));
    }
    Ok(Letter {
        session: session.id.to_string(),
        content: Content::Message(message),
    })
}
