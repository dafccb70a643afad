//! A client's GET stream: what its session says without being asked, whichever replica has it to say.
//!
//! Other replicas' messages are asked for when the client is ready for them, and they say when it is worth asking. While
//! what replicas share is away, the stream has what comes up here, and takes over the rest once that is back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::random_uuid;
use futures::Stream;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

use super::activity::Reading;
use super::bus::{BusError, SessionBus, Taken};
use super::outbox::Next;
use super::{Held, Session};

/// How often it is looked at without anybody having said so.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Several replicas say at about the same time that a list has changed: that is one change.
const COALESCE: Duration = Duration::from_millis(50);

pub(super) struct Standalone {
    bus: Arc<dyn SessionBus>,
    session: Arc<Session>,
    /// Holds the session open.
    _reading: Reading,
    local: u64,
    /// To the other replicas.
    name: String,
    /// The last event that the client has, if it says which.
    after: Option<String>,
    has_claimed: bool,
    taken: VecDeque<ServerSseMessage>,
}

/// Takes over from the stream before, until the session ends.
pub(super) async fn open(
    bus: Arc<dyn SessionBus>,
    session: Arc<Session>,
    after: Option<String>,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + use<> {
    let name = format!("{}.{}", bus.replica(), random_uuid().simple());
    let mut stream = Standalone {
        local: session.outbox.claim(),
        _reading: session.activity.reading(),
        bus,
        session,
        name,
        after,
        has_claimed: false,
        taken: VecDeque::new(),
    };
    // Before the client hears that it has a stream: what is said from then on is for this one.
    stream.claim().await;
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let ended = stream.session.ended.clone();
        let event = tokio::select! {
            () = ended.cancelled() => None,
            event = stream.next() => event,
        };
        event.map(|event| (event, stream))
    });
    super::streams::shareable(events)
}

impl Standalone {
    async fn next(&mut self) -> Option<ServerSseMessage> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Some(event);
            }
            let session = self.session.clone();
            // Before the look, so that what comes between the look and the wait is noticed.
            let mut changed = std::pin::pin!(session.outbox.changed().notified());
            changed.as_mut().enable();
            match session.outbox.take(self.local) {
                Next::Message(message) => return Some(ServerSseMessage::from_message(*message)),
                Next::Replaced => return None,
                Next::Nothing => {}
            }
            if session.take_changed() {
                tokio::time::sleep(COALESCE).await;
            }
            if !self.look().await? {
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Asks the others. Whether there was nothing; `None` when another stream reads now.
    async fn look(&mut self) -> Option<bool> {
        if !self.has_claimed {
            self.claim().await;
        }
        if !self.has_claimed {
            return Some(true);
        }
        match self.bus.take(&self.session.id, &self.name).await {
            Ok(Taken::Events(events)) => {
                let events = events
                    .into_iter()
                    .map(|event| ServerSseMessage::new(event.id, event.message));
                self.taken.extend(events);
                Some(self.taken.is_empty())
            }
            Ok(Taken::Replaced) => None,
            // Written again, it has to be claimed again.
            Ok(Taken::Unknown) => {
                self.has_claimed = false;
                Some(true)
            }
            Err(error) => {
                tracing::debug!(%error, "what other replicas have to say can't be read now");
                Some(true)
            }
        }
    }

    async fn claim(&mut self) {
        let claimed = self
            .bus
            .claim(&self.session.id, &self.name, self.after.as_deref())
            .await;
        match claimed {
            Ok(()) => self.has_claimed = true,
            Err(BusError::Unknown) => {
                // What it was written to has been emptied.
                let _later = self
                    .session
                    .write(&*self.bus)
                    .await
                    .map(|held| held == Held::Here);
            }
            Err(error) => tracing::debug!(%error, "what other replicas have to say can't be asked for now"),
        }
    }
}
