//! Sessions that several replicas share, in Redis. What has to arrive waits in streams; what is published only says that
//! there is something to look at, so that nothing is lost with a publication.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::{ReplicaId, TenantId};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use redis::Value;
use rmcp::model::ServerJsonRpcMessage;
use tokio::sync::watch;

use super::scripts::Scripts;
use super::{
    BusError, Caps, Content, Event, Evicted, Held, Kept, Letter, News, Piece, Place, Record, Relayed,
    SessionBus, Taken, Use,
};
use crate::mcp::session::{SessionLimits, outbox};
use crate::principal::Principal;
use crate::redis::{Heard, Redis, SessionCounts, Subscription};

/// Messages that wait for a GET stream, read ones that a client may ask for again included.
const MAX_EVENTS: usize = 64;
/// Taken at once.
const BATCH: usize = 16;
/// Letters that wait for a replica, which takes them as they come.
const MAX_LETTERS: usize = 1_000;
/// Pieces of one stream that wait.
const MAX_PIECES: usize = 256;
/// How long letters and pieces wait for a replica that does not take them.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A replica that says nothing for so long is gone.
const ALIVE_FOR: Duration = Duration::from_secs(15);
const SAY_SO_EVERY: Duration = Duration::from_secs(4);
/// Sessions whose use is told in one go.
const REPORTED_AT_ONCE: usize = 200;

pub struct SharedSessions(Arc<Inner>);

struct Inner {
    redis: Redis,
    scripts: Scripts,
    replica: ReplicaId,
    /// For which a session stays known without being used.
    ttl: Duration,
    /// For which one that was said to be in use counts as such.
    busy_for: Duration,
}

impl SharedSessions {
    /// `ttl`: after which an idle session is gone.
    pub fn new(redis: Redis, replica: ReplicaId, ttl: Duration) -> Self {
        let report_every = SessionLimits::look_every(ttl);
        Self(Arc::new(Inner {
            redis,
            scripts: Scripts::new(),
            replica,
            // What is told late must not be too late.
            ttl: ttl + 2 * report_every,
            busy_for: 3 * report_every,
        }))
    }
}

impl Inner {
    fn ttl_ms(&self) -> u64 {
        millis(self.ttl)
    }

    fn state(&self, id: &str) -> String {
        self.redis.keys().session_state(id)
    }

    fn events(&self, id: &str) -> String {
        self.redis.keys().session_events(id)
    }

    fn counts(&self) -> SessionCounts {
        self.redis.keys().session_counts()
    }

    async fn wake(&self, replica: &ReplicaId, word: &str) -> Result<(), BusError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.redis.keys().replica_channel(replica)).arg(word);
        Ok(self.redis.query(&publish).await?)
    }

    /// Each of them but this one; one that is gone is forgotten.
    async fn tell(&self, copies: Vec<String>, letter: &Letter) -> Result<(), BusError> {
        for copy in copies {
            let Ok(replica) = copy.parse::<ReplicaId>() else {
                continue;
            };
            if replica != self.replica && !self.deliver(&replica, letter).await? {
                let mut forget = redis::cmd("HDEL");
                forget.arg(self.state(&letter.session)).arg(at(&replica));
                let () = self.redis.query(&forget).await?;
            }
        }
        Ok(())
    }

    async fn deliver(&self, to: &ReplicaId, letter: &Letter) -> Result<bool, BusError> {
        let keys = self.redis.keys();
        let mut deliver = self.scripts.deliver.key(keys.replica_alive(to));
        deliver
            .key(keys.replica_inbox(to))
            .arg(serde_json::to_string(letter)?)
            .arg(MAX_LETTERS)
            .arg(millis(KEPT_FOR))
            .arg(keys.replica_channel(to));
        Ok(self.redis.invoke(&deliver).await?)
    }

    async fn say_alive(&self) {
        let mut alive = redis::cmd("SET");
        alive.arg(self.redis.keys().replica_alive(&self.replica)).arg(1);
        alive.arg("PX").arg(millis(ALIVE_FOR));
        if let Err(error) = self.redis.query::<()>(&alive).await {
            tracing::debug!(%error, "the other replicas can't be told that this one is alive");
        }
    }

    /// What has come by letter since those that were got before. What can't be taken now is there when it is looked at again.
    async fn letters(&self, got: &mut Vec<Place>) -> Vec<Letter> {
        let mut letters = Vec::new();
        loop {
            let inbox = self.redis.keys().replica_inbox(&self.replica);
            let mut take = self.scripts.letters.key(inbox);
            take.arg(BATCH).arg(&*got);
            let Ok(taken) = self.redis.invoke::<Vec<String>>(&take).await else {
                return letters;
            };
            got.clear();
            for entry in taken.chunks_exact(2) {
                got.push(entry[0].clone());
                letters.extend(serde_json::from_str::<Letter>(&entry[1]).ok());
            }
            if taken.is_empty() {
                return letters;
            }
        }
    }

    fn parse(&self, word: &[u8]) -> Option<Word> {
        let word = std::str::from_utf8(word).ok()?;
        match word.split_once(' ') {
            None => (word == "letters").then_some(Word::Letters),
            Some(("posted", session)) => Some(Word::News(News::Posted {
                session: session.to_owned(),
                changed: false,
            })),
            Some(("changed", session)) => Some(Word::News(News::Posted {
                session: session.to_owned(),
                changed: true,
            })),
            Some(("relayed", token)) => Some(Word::News(News::Relayed {
                token: token.to_owned(),
            })),
            Some(_) => None,
        }
    }
}

/// What is published.
enum Word {
    Letters,
    News(News),
}

#[async_trait]
impl SessionBus for SharedSessions {
    fn replica(&self) -> &ReplicaId {
        &self.0.replica
    }

    async fn admit(&self, id: &str, tenant: &TenantId, caps: Caps) -> Result<Option<Evicted>, BusError> {
        let counts = self.0.counts();
        let mut admit = self.0.scripts.admit.key(&counts.all);
        admit.key(&counts.tenants).key(&counts.busy);
        admit.arg(&counts.of_tenant).arg(tenant.as_str()).arg(id);
        admit.arg(caps.of_tenant).arg(caps.in_all).arg(self.0.ttl_ms());
        let answer: Vec<String> = self.0.redis.invoke(&admit).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["1", tenant, id] => Ok(tenant.parse().ok().map(|tenant| Evicted {
                id: id.to_owned(),
                tenant,
            })),
            ["0", most] => Err(BusError::Full(most.parse().unwrap_or(caps.in_all))),
            _ => Ok(None),
        }
    }

    async fn write(&self, id: &str, record: &Record) -> Result<Held, BusError> {
        let owner = serde_json::to_string(&Owner::from(&record.owner))?;
        let mut write = self.0.scripts.write.key(self.0.state(id));
        write.arg(self.0.replica.as_str()).arg(self.0.ttl_ms());
        write.arg(owner).arg(&record.opening);
        for (name, request) in &record.kept {
            write.arg(name).arg(request);
        }
        let held: String = self.0.redis.invoke(&write).await?;
        Ok(held_as(&held))
    }

    async fn find(&self, id: &str) -> Result<Option<Record>, BusError> {
        let mut find = redis::cmd("HGETALL");
        find.arg(self.0.state(id));
        let fields: HashMap<String, String> = self.0.redis.query(&find).await?;
        let (Some(owner), Some(opening)) = (fields.get("owner"), fields.get("opening")) else {
            return Ok(None);
        };
        let owner: Owner = serde_json::from_str(owner)?;
        let kept: BTreeMap<_, _> = fields
            .iter()
            .filter_map(|(field, request)| Some((field.strip_prefix("keep:")?.to_owned(), request.clone())))
            .collect();
        Ok(Some(Record {
            owner: owner.into(),
            opening: opening.clone(),
            kept,
        }))
    }

    async fn hold(&self, id: &str) -> Result<Held, BusError> {
        let mut hold = self.0.scripts.hold.key(self.0.state(id));
        hold.key(self.0.events(id));
        hold.arg(self.0.replica.as_str()).arg(self.0.ttl_ms());
        let held: String = self.0.redis.invoke(&hold).await?;
        Ok(held_as(&held))
    }

    async fn report(&self, uses: &[Use<'_>]) -> Result<(), BusError> {
        let counts = self.0.counts();
        for some in uses.chunks(REPORTED_AT_ONCE) {
            let mut report = self.0.scripts.report.key(&counts.all);
            report.key(&counts.tenants).key(&counts.busy);
            report
                .arg(&counts.of_tenant)
                .arg(millis(self.0.busy_for))
                .arg(self.0.ttl_ms());
            for session in some {
                let idle = session
                    .idle
                    .map_or(-1, |idle| i64::try_from(millis(idle)).unwrap_or(i64::MAX));
                report.arg(session.tenant.as_str()).arg(session.id).arg(idle);
            }
            let () = self.0.redis.invoke(&report).await?;
        }
        Ok(())
    }

    async fn leave(&self, id: &str) -> Result<(), BusError> {
        let mut leave = redis::cmd("HDEL");
        leave.arg(self.0.state(id)).arg(at(&self.0.replica));
        Ok(self.0.redis.query(&leave).await?)
    }

    async fn end(&self, id: &str, tenant: &TenantId) -> Result<(), BusError> {
        let mut end = self.0.scripts.end.key(self.0.state(id));
        end.key(self.0.events(id)).arg(self.0.ttl_ms());
        let copies: Vec<String> = self.0.redis.invoke(&end).await?;
        let letter = Letter {
            session: id.to_owned(),
            content: Content::Ended,
        };
        let told = self.0.tell(copies, &letter).await;
        let counts = self.0.counts();
        let mut withdraw = self.0.scripts.withdraw.key(&counts.all);
        withdraw.key(&counts.tenants).key(&counts.busy);
        withdraw.key(format!("{}{tenant}", counts.of_tenant));
        withdraw.arg(tenant.as_str()).arg(id);
        let () = self.0.redis.invoke(&withdraw).await?;
        told
    }

    async fn keep(&self, id: &str, kept: Kept) -> Result<(), BusError> {
        let mut keep = self.0.scripts.keep.key(self.0.state(id));
        let request = if kept.takes_back { "" } else { &kept.request };
        keep.arg(&kept.name).arg(request);
        let copies: Vec<String> = self.0.redis.invoke(&keep).await?;
        let letter = Letter {
            session: id.to_owned(),
            content: Content::Kept(kept),
        };
        self.0.tell(copies, &letter).await
    }

    async fn tell_copies(&self, letter: &Letter) -> Result<(), BusError> {
        let mut fields = redis::cmd("HKEYS");
        fields.arg(self.0.state(&letter.session));
        let fields: Vec<String> = self.0.redis.query(&fields).await?;
        let copies = fields
            .iter()
            .filter_map(|field| field.strip_prefix("at:").map(str::to_owned));
        self.0.tell(copies.collect(), letter).await
    }

    async fn send(&self, to: &ReplicaId, letter: &Letter) -> Result<bool, BusError> {
        self.0.deliver(to, letter).await
    }

    async fn post(&self, id: &str, message: &ServerJsonRpcMessage) -> Result<(), BusError> {
        let what = outbox::changed(message);
        let mut post = self.0.scripts.post.key(self.0.state(id));
        post.key(self.0.events(id));
        post.arg(serde_json::to_string(message)?)
            .arg(what.as_deref().unwrap_or(""));
        post.arg(MAX_EVENTS).arg(self.0.ttl_ms());
        let reader: Option<String> = self.0.redis.invoke(&post).await?;
        let reader = reader.ok_or(BusError::Unknown)?;
        // `<replica>.<number>`, or nothing when nobody reads.
        if let Some(replica) = reader.split('.').next().and_then(|replica| replica.parse().ok()) {
            let word = if what.is_some() { "changed" } else { "posted" };
            self.0.wake(&replica, &format!("{word} {id}")).await?;
        }
        Ok(())
    }

    async fn claim(&self, id: &str, reader: &str, after: Option<&str>) -> Result<(), BusError> {
        let mut claim = self.0.scripts.claim.key(self.0.state(id));
        claim.key(self.0.events(id));
        claim
            .arg(reader)
            .arg(after.filter(|id| is_event_id(id)).unwrap_or(""));
        let before: Option<String> = self.0.redis.invoke(&claim).await?;
        let before = before.ok_or(BusError::Unknown)?;
        // It looks, and finds that it has been replaced.
        if let Some(replica) = before.split('.').next().and_then(|replica| replica.parse().ok()) {
            self.0.wake(&replica, &format!("posted {id}")).await?;
        }
        Ok(())
    }

    async fn take(&self, id: &str, reader: &str) -> Result<Taken, BusError> {
        let mut take = self.0.scripts.take.key(self.0.state(id));
        take.key(self.0.events(id)).arg(reader).arg(BATCH);
        let taken: Value = self.0.redis.invoke(&take).await?;
        if let Value::Array(entries) = taken {
            let entries: Vec<String> = redis::from_redis_value(Value::Array(entries)).unwrap_or_default();
            let events = entries.chunks_exact(2).filter_map(|entry| {
                let message = serde_json::from_str(&entry[1]).ok()?;
                Some(Event {
                    id: entry[0].clone(),
                    message,
                })
            });
            return Ok(Taken::Events(events.collect()));
        }
        let word: String = redis::from_redis_value(taken).unwrap_or_default();
        Ok(match word.as_str() {
            "replaced" => Taken::Replaced,
            _ => Taken::Unknown,
        })
    }

    async fn relay(&self, id: &str, to: &ReplicaId, token: &str, piece: &Piece) -> Result<(), BusError> {
        let (event_id, message) = match piece {
            Piece::Event(event_id, Some(message)) => (event_id.as_str(), serde_json::to_string(message)?),
            Piece::Event(event_id, None) => (event_id.as_str(), String::new()),
            Piece::End => ("", String::new()),
        };
        let keys = self.0.redis.keys();
        let mut relay = self.0.scripts.relay.key(keys.session_relay(id, token));
        relay.arg(event_id).arg(message).arg(MAX_PIECES);
        relay.arg(millis(KEPT_FOR));
        let () = self.0.redis.invoke(&relay).await?;
        self.0.wake(to, &format!("relayed {token}")).await
    }

    async fn relayed(&self, id: &str, token: &str, got: &[Place]) -> Result<Vec<Relayed>, BusError> {
        let relay = self.0.redis.keys().session_relay(id, token);
        let mut take = self.0.scripts.relayed.key(relay);
        take.arg(BATCH).arg(got);
        let entries: Vec<String> = self.0.redis.invoke(&take).await?;
        let pieces = entries.chunks_exact(3).map(|entry| Relayed {
            place: entry[0].clone(),
            piece: match (&*entry[1], &*entry[2]) {
                ("", _) => Piece::End,
                (id, message) => Piece::Event(id.to_owned(), serde_json::from_str(message).ok()),
            },
        });
        Ok(pieces.collect())
    }

    async fn is_alive(&self, replica: &ReplicaId) -> Result<bool, BusError> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(self.0.redis.keys().replica_alive(replica));
        Ok(self.0.redis.query(&exists).await?)
    }

    fn news(&self) -> BoxStream<'static, News> {
        let channel = self.0.redis.keys().replica_channel(&self.0.replica);
        let ears = Ears {
            inner: self.0.clone(),
            subscription: self.0.redis.subscribe(vec![channel]),
            say_so: tokio::time::interval(SAY_SO_EVERY),
            up: self.0.redis.up(),
            has_letters: false,
            got: Vec::new(),
        };
        futures::stream::unfold(ears, |mut ears| async move {
            let news = ears.next().await;
            Some((news, ears))
        })
        .boxed()
    }
}

struct Ears {
    inner: Arc<Inner>,
    subscription: Subscription,
    say_so: tokio::time::Interval,
    /// Of the connection for commands, which may be back later than the one that listens.
    up: watch::Receiver<bool>,
    has_letters: bool,
    /// Letters that are still in the inbox.
    got: Vec<Place>,
}

impl Ears {
    async fn next(&mut self) -> News {
        loop {
            if std::mem::take(&mut self.has_letters) {
                let letters = self.inner.letters(&mut self.got).await;
                if !letters.is_empty() {
                    return News::Letters(letters);
                }
            }
            tokio::select! {
                _ = self.say_so.tick() => {
                    self.inner.say_alive().await;
                    // What was published may have been lost, what was written is not.
                    self.has_letters = true;
                }
                Ok(()) = self.up.changed() => {
                    if *self.up.borrow_and_update() {
                        self.inner.say_alive().await;
                        self.has_letters = true;
                        return News::Listening;
                    }
                }
                heard = self.subscription.next() => match heard {
                    Heard::Listening => {
                        self.inner.say_alive().await;
                        self.has_letters = true;
                        return News::Listening;
                    }
                    Heard::Message { payload, .. } => match self.inner.parse(&payload) {
                        Some(Word::Letters) => self.has_letters = true,
                        Some(Word::News(news)) => return news,
                        None => {}
                    },
                },
            }
        }
    }
}

/// How an owner is written.
#[derive(serde::Serialize, serde::Deserialize)]
struct Owner {
    tenant: TenantId,
    subject: String,
    client: String,
}

impl From<&Principal> for Owner {
    fn from(principal: &Principal) -> Self {
        Self {
            tenant: principal.tenant.clone(),
            subject: principal.subject.clone(),
            client: principal.client.clone(),
        }
    }
}

impl From<Owner> for Principal {
    fn from(owner: Owner) -> Self {
        Self {
            tenant: owner.tenant,
            subject: owner.subject,
            client: owner.client,
        }
    }
}

fn at(replica: &ReplicaId) -> String {
    format!("at:{replica}")
}

fn held_as(word: &str) -> Held {
    match word {
        "here" => Held::Here,
        "ended" => Held::Ended,
        _ => Held::Unknown,
    }
}

/// As Redis writes the ids of a stream.
fn is_event_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(ms, seq)| {
        ms.parse::<u64>().is_ok() && seq.parse::<u64>().is_ok() && !text.contains('+')
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
