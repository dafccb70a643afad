//! The rest of the stream of a request, for a client that lost it and asks another replica than the one where the request
//! runs: piece by piece from there to here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::{ReplicaId, random_uuid};
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::bus::{Content, Letter, Piece, SessionBus};
use super::{Session, Sessions, SessionsError, names, streams};

/// How often it is looked whether the replica where the request runs is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// For how long, and how often, a piece is sent again that could not be sent. Without Redis for so long the reader has
/// given up.
const RELAYED_WITHIN: Duration = Duration::from_secs(60);
const RELAYED_AGAIN: Duration = Duration::from_millis(500);

/// After which a client that lost the stream again may come back, as rmcp has it.
const RETRY: Duration = Duration::from_secs(3);

/// The streams that are read here.
#[derive(Default)]
pub(super) struct Relays(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

impl Relays {
    pub(super) fn wake(&self, token: &str) {
        if let Some(relay) = self.0.lock().get(token) {
            relay.notify_one();
        }
    }

    fn add(&self) -> Relay {
        let token = random_uuid().simple().to_string();
        let something = Arc::new(Notify::new());
        self.0.lock().insert(token.clone(), something.clone());
        Relay {
            token,
            something,
            all: self.0.clone(),
        }
    }
}

struct Relay {
    token: String,
    something: Arc<Notify>,
    all: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.all.lock().remove(&self.token);
    }
}

impl<H: ServerHandler> Sessions<H> {
    /// # Errors
    /// When that replica is gone, and the request with it.
    pub(super) async fn resumed_elsewhere(
        &self,
        session: &Arc<Session>,
        replica: ReplicaId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + use<H>, SessionsError> {
        let relay = self.relays.add();
        let letter = Letter {
            session: session.id.to_string(),
            content: Content::Resume {
                last_event_id,
                to: self.bus.replica().clone(),
                token: relay.token.clone(),
            },
        };
        if !self.bus.send(&replica, &letter).await? {
            return Err(SessionsError::NoSuchStream);
        }
        let (bus, session) = (self.bus.clone(), session.clone());
        let reading = session.activity.reading();
        let pieces = futures::stream::unfold(
            (relay, reading, Vec::new(), Instant::now()),
            move |(relay, reading, got, looked)| {
                let (bus, session, replica) = (bus.clone(), session.clone(), replica.clone());
                async move {
                    if looked.elapsed() > RELAYED_WITHIN {
                        // Its client did not read for so long, and what came is gone: it may ask for it again.
                        return None;
                    }
                    loop {
                        let pieces = match bus.relayed(&session.id, &relay.token, &got).await {
                            Ok(pieces) => pieces,
                            Err(error) => {
                                tracing::debug!(%error, "the stream of a request at another replica is lost");
                                return None;
                            }
                        };
                        if !pieces.is_empty() {
                            let got = pieces.iter().map(|relayed| relayed.place.clone()).collect();
                            return Some((pieces, (relay, reading, got, Instant::now())));
                        }
                        let waited = tokio::select! {
                            () = session.ended.cancelled() => return None,
                            waited = tokio::time::timeout(LOOK_EVERY, relay.something.notified()) => waited,
                        };
                        if waited.is_err() && !bus.is_alive(&replica).await.unwrap_or(true) {
                            return None;
                        }
                    }
                }
            },
        );
        let pieces = pieces
            .flat_map(futures::stream::iter)
            .map(|relayed| relayed.piece)
            .take_while(|piece| std::future::ready(!matches!(piece, Piece::End)));
        let events = pieces.scan(None, |last, piece| {
            let event = match piece {
                // It came twice.
                Piece::Event(id, _) if last.as_ref() == Some(&id) => None,
                Piece::Event(id, message) => {
                    *last = Some(id.clone());
                    Some(match message {
                        Some(message) => ServerSseMessage::new(id, *message),
                        None => ServerSseMessage::priming(id, RETRY),
                    })
                }
                Piece::End => None,
            };
            std::future::ready(Some(event))
        });
        Ok(streams::shareable(events.filter_map(std::future::ready)))
    }

    /// Of a request that was begun here, until it has its answer; of one that is not known any more, that it has ended.
    pub(super) fn send_rest(&self, session: String, last_event_id: &str, to: ReplicaId, token: String) {
        let journal = names::of_event(last_event_id)
            .filter(|(replica, ..)| replica == self.bus.replica())
            .and_then(|(_, index, number)| Some((self.journals.find(&session, number, index)?, index)));
        let bus = self.bus.clone();
        let sending = async move {
            if let Some((journal, index)) = journal {
                let mut events = std::pin::pin!(journal.read(Some(index)));
                while let Some(event) = events.next().await {
                    let Some(id) = event.event_id else { continue };
                    let message = event
                        .message
                        .map(|message| Box::new(Arc::unwrap_or_clone(message)));
                    if !relay(&*bus, &session, &to, &token, &Piece::Event(id, message)).await {
                        return;
                    }
                }
            }
            relay(&*bus, &session, &to, &token, &Piece::End).await;
        };
        self.tasks.spawn(sending.in_current_span());
    }
}

/// Again and again for a while: the reader waits for it as long as this replica lives. It may come twice.
async fn relay(bus: &dyn SessionBus, session: &str, to: &ReplicaId, token: &str, piece: &Piece) -> bool {
    let give_up_at = Instant::now() + RELAYED_WITHIN;
    loop {
        match bus.relay(session, to, token, piece).await {
            Ok(()) => return true,
            Err(error) if Instant::now() >= give_up_at => {
                tracing::warn!(%error, "the stream of a request can't be sent to another replica");
                return false;
            }
            Err(_) => tokio::time::sleep(RELAYED_AGAIN).await,
        }
    }
}
