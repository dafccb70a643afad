//! The stream of one request, kept apart from whoever reads it. What the server says on it is written down here until its
//! answer, so that a client which lost the connection goes on where it was, also when the answer has come by then, and one
//! that does not read holds up nobody.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::ids::ReplicaId;
use futures::Stream;
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId};
use tokio::sync::Notify;

use super::names;
use super::streams::{progress_token, shareable};

/// Events that wait for a reader; progress gives way, the oldest first.
const MAX_EVENTS: usize = 64;
/// How long the stream of a request that has its answer can be asked for again.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// What such streams may take of this replica's memory; those that were last in use the longest ago give way.
const MAX_BYTES: u64 = 32 << 20;
/// What is counted of one beside its messages, of each message, and how much more it takes than its JSON.
const ITSELF: usize = 1_024;
const EVENT: usize = 256;
const TIMES_JSON: usize = 3;

/// The streams of this replica's requests, by their numbers.
pub(super) struct Journals {
    replica: ReplicaId,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Arc<Journal>>>,
    answered: moka::sync::Cache<u64, Arc<Journal>>,
}

pub(super) struct Journal {
    session: SessionId,
    number: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<(u64, ServerSseMessage)>,
    next: u64,
    /// The newest; those before it end, since a message goes to one stream only.
    reader: u64,
    has_ended: bool,
}

enum Next {
    Event(u64, ServerSseMessage),
    Nothing,
    End,
}

impl Journals {
    pub(super) fn new(replica: ReplicaId) -> Self {
        let answered = moka::sync::Cache::builder()
            .weigher(|_, journal: &Arc<Journal>| journal.size())
            .max_capacity(MAX_BYTES)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(KEPT_FOR)
            .build();
        Self {
            replica,
            next: AtomicU64::new(0),
            running: Mutex::default(),
            answered,
        }
    }

    pub(super) fn begin(&self, session: SessionId) -> Arc<Journal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let journal = Arc::new(Journal {
            session,
            number,
            state: Mutex::default(),
            changed: Notify::new(),
        });
        self.running.lock().insert(number, journal.clone());
        journal
    }

    pub(super) fn write(&self, journal: &Journal, mut event: ServerSseMessage) {
        {
            let mut state = journal.state.lock();
            let index = state.next;
            state.next += 1;
            event.event_id = Some(names::event(&self.replica, index, journal.number));
            if state.events.len() >= MAX_EVENTS {
                state.drop_progress();
            }
            state.events.push_back((index, event));
        }
        journal.changed.notify_waiters();
    }

    /// Nothing more comes.
    pub(super) fn end(&self, journal: &Arc<Journal>) {
        journal.state.lock().has_ended = true;
        journal.changed.notify_waiters();
        self.answered.insert(journal.number, journal.clone());
        self.running.lock().remove(&journal.number);
    }

    /// The stream of a request of that session, if it has had such an event.
    pub(super) fn find(&self, session: &str, number: u64, index: u64) -> Option<Arc<Journal>> {
        let running = self.running.lock().get(&number).cloned();
        let journal = running.or_else(|| self.answered.get(&number))?;
        let is_known = *journal.session == *session && index < journal.state.lock().next;
        is_known.then_some(journal)
    }
}

impl Journal {
    /// What comes after the event of that index, or all of it. Takes over from the reader before.
    pub(super) fn read(
        self: &Arc<Self>,
        after: Option<u64>,
    ) -> impl Stream<Item = ServerSseMessage> + Send + Sync + use<> {
        let reader = {
            let mut state = self.state.lock();
            state.reader += 1;
            state.reader
        };
        self.changed.notify_waiters();
        let from = after.map_or(0, |index| index + 1);
        shareable(futures::stream::unfold(
            (self.clone(), from),
            move |(journal, from)| async move {
                let (index, event) = journal.next(reader, from).await?;
                Some((event, (journal, index + 1)))
            },
        ))
    }

    async fn next(&self, reader: u64, from: u64) -> Option<(u64, ServerSseMessage)> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = self.state.lock().next(reader, from);
            match next {
                Next::Event(index, event) => return Some((index, event)),
                Next::End => return None,
                Next::Nothing => changed.await,
            }
        }
    }

    /// About what it takes of memory: a message that is read takes more than its JSON.
    fn size(&self) -> u32 {
        let mut bytes = Counter(ITSELF);
        for (_, event) in &self.state.lock().events {
            bytes.0 += EVENT;
            if let Some(message) = event.message.as_deref() {
                let _counted = serde_json::to_writer(&mut bytes, message);
            }
        }
        u32::try_from(bytes.0).unwrap_or(u32::MAX)
    }
}

impl State {
    fn next(&self, reader: u64, from: u64) -> Next {
        if self.reader != reader {
            return Next::End;
        }
        // They are in order, with gaps where progress gave way.
        let at = self.events.partition_point(|(index, _)| *index < from);
        match self.events.get(at) {
            Some((index, event)) => Next::Event(*index, event.clone()),
            None if self.has_ended => Next::End,
            None => Next::Nothing,
        }
    }

    fn drop_progress(&mut self) {
        let is_progress = |event: &ServerSseMessage| event.message.as_deref().is_some_and(tells_progress);
        let oldest = self.events.iter().position(|(_, event)| is_progress(event));
        if let Some(oldest) = oldest {
            self.events.remove(oldest);
        }
    }
}

fn tells_progress(message: &ServerJsonRpcMessage) -> bool {
    progress_token(message).is_some()
}

/// Counts what that takes which is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() * TIMES_JSON;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use rmcp::model::{
        NumberOrString, ProgressNotification, ProgressNotificationParam, ProgressToken, ServerNotification,
        ServerResult,
    };

    use super::*;

    const SESSION: &str = "session";

    fn journals() -> Journals {
        Journals::new(ReplicaId::generate())
    }

    fn answer() -> ServerSseMessage {
        let message = ServerJsonRpcMessage::response(ServerResult::empty(()), NumberOrString::Number(1));
        ServerSseMessage::from_message(message)
    }

    fn progress(value: f64) -> ServerSseMessage {
        let token = ProgressToken(NumberOrString::Number(7));
        let progress = ProgressNotification::new(ProgressNotificationParam::new(token, value));
        let notification = ServerNotification::ProgressNotification(progress);
        ServerSseMessage::from_message(ServerJsonRpcMessage::notification(notification))
    }

    fn id(event: Option<ServerSseMessage>) -> String {
        event.and_then(|event| event.event_id).expect("an event")
    }

    fn find(journals: &Journals, session: &str, event: &str) -> Option<Arc<Journal>> {
        let (_, index, number) = names::of_event(event).expect("an event of ours");
        journals.find(session, number, index)
    }

    #[tokio::test]
    async fn an_answer_that_came_while_nobody_read_is_read_later_and_nothing_twice() {
        let journals = journals();
        let journal = journals.begin(SESSION.into());
        journals.write(&journal, progress(1.0));
        let mut lost = Box::pin(journal.read(None));
        let read = id(lost.next().await);
        drop(lost);
        journals.write(&journal, answer());
        journals.end(&journal);
        drop(journal);
        let journal = find(&journals, SESSION, &read).expect("it is kept");
        let mut rest = Box::pin(journal.read(Some(0)));
        assert!(rest.next().await.is_some_and(|event| event.message.is_some()));
        assert!(rest.next().await.is_none());
    }

    #[tokio::test]
    async fn an_event_leads_to_its_stream_in_its_own_session_only() {
        let journals = journals();
        let journal = journals.begin(SESSION.into());
        journals.write(&journal, answer());
        let event = id(Box::pin(journal.read(None)).next().await);
        assert!(find(&journals, SESSION, &event).is_some());
        assert!(find(&journals, "another", &event).is_none());
        assert!(journals.find(SESSION, 0, 1).is_none(), "nobody was told of it");
        assert!(journals.find(SESSION, 1, 0).is_none());
    }

    #[tokio::test]
    async fn who_reads_anew_takes_over() {
        let journals = journals();
        let journal = journals.begin(SESSION.into());
        let mut old = Box::pin(journal.read(None));
        assert!(old.next().now_or_never().is_none());
        let mut new = Box::pin(journal.read(None));
        assert!(old.next().await.is_none());
        journals.write(&journal, answer());
        assert!(new.next().await.is_some());
    }

    #[tokio::test]
    async fn progress_that_nobody_reads_is_bounded_and_costs_no_answer() {
        let journals = journals();
        let journal = journals.begin(SESSION.into());
        for step in 0..1_000 {
            journals.write(&journal, progress(f64::from(step)));
        }
        journals.write(&journal, answer());
        journals.end(&journal);
        let events: Vec<_> = journal.read(None).collect().await;
        assert_eq!(events.len(), MAX_EVENTS);
        let last = events.last().and_then(|event| event.message.as_deref());
        assert!(last.is_some_and(|message| !tells_progress(message)));
    }
}
