//! What a Redis holds and how it answers: the commands that our scripts use and no others, on a clock that is given. A
//! command, an option or a use of one that is not here fails the simulation rather than answer something made up.
//!
//! `differential.rs` holds it against a real Redis.

mod hashes;
mod keys;
mod lists;
mod numbers;
mod sets;
mod sorted;
mod strings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use self::numbers::shortest_of_17_digits;
use self::sorted::Sorted;

/// What a command answers, as a script or a client gets it (RESP2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Nil,
    Int(i64),
    Status(String),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
    /// The first word of what Redis says.
    Error(String),
}

impl Reply {
    pub fn ok() -> Self {
        Reply::Status("OK".to_owned())
    }

    fn of(bytes: Option<&Vec<u8>>) -> Self {
        bytes.map_or(Reply::Nil, |bytes| Reply::Bulk(bytes.clone()))
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub enum Refused {
    /// Redis refuses it too.
    AsRedisDoes(&'static str),
    /// Redis may well answer; this keyspace does not know it.
    Unknown(String),
}

type Answer = Result<Reply, Refused>;
type Args<'a> = &'a [&'a [u8]];

const WRONG_TYPE: Refused = Refused::AsRedisDoes("WRONGTYPE");
const ERR: Refused = Refused::AsRedisDoes("ERR");

#[derive(Debug, Clone, PartialEq)]
enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Sorted(Sorted),
    List(VecDeque<Vec<u8>>),
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Value::String(_) => false,
            Value::Hash(fields) => fields.is_empty(),
            Value::Set(members) => members.is_empty(),
            Value::Sorted(members) => members.len() == 0,
            Value::List(items) => items.is_empty(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Value,
    /// In milliseconds since 1970.
    expires_at: Option<u64>,
}

/// What was published: the channel and the message.
pub type Published = (Vec<u8>, Vec<u8>);

#[derive(Debug, Clone, Default)]
pub struct Keyspace {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Microseconds since 1970.
    now: u64,
    published: Vec<Published>,
}

impl Keyspace {
    /// What it calls the present, in microseconds since 1970. What has expired by then is gone.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// What was published since this was last asked.
    pub fn take_published(&mut self) -> Vec<Published> {
        std::mem::take(&mut self.published)
    }

    /// The keys that have not expired, and whether each has a time to live.
    pub fn live_keys(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let now = self.now_ms();
        self.entries
            .iter()
            .filter(move |(_, entry)| entry.expires_at.is_none_or(|at| at > now))
            .map(|(key, entry)| (key.as_slice(), entry.expires_at.is_some()))
    }

    /// # Errors
    /// When Redis would refuse the command, or when this keyspace does not know it.
    pub fn command(&mut self, words: Args<'_>) -> Answer {
        let Some((name, args)) = words.split_first() else {
            return Err(ERR);
        };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let known = self
            .keys(&name, args)
            .or_else(|| self.strings(&name, args))
            .or_else(|| self.hashes(&name, args))
            .or_else(|| self.sorted(&name, args))
            .or_else(|| self.sets(&name, args))
            .or_else(|| self.lists(&name, args));
        known.unwrap_or_else(|| unknown(&name, args))
    }

    pub fn now_ms(&self) -> u64 {
        self.now / 1_000
    }

    fn drop_if_expired(&mut self, key: &[u8]) {
        let now = self.now_ms();
        let expired = |entry: &Entry| entry.expires_at.is_some_and(|at| at <= now);
        if self.entries.get(key).is_some_and(expired) {
            self.entries.remove(key);
        }
    }

    fn get(&mut self, key: &[u8]) -> Option<&Value> {
        self.drop_if_expired(key);
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The value there, made by `new` when there is none. Whoever takes something out of it calls `forget_if_empty`.
    fn get_or_make(&mut self, key: &[u8], new: impl FnOnce() -> Value) -> &mut Value {
        self.drop_if_expired(key);
        let entry = self.entries.entry(key.to_vec()).or_insert_with(|| Entry {
            value: new(),
            expires_at: None,
        });
        &mut entry.value
    }

    fn get_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.drop_if_expired(key);
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    fn forget_if_empty(&mut self, key: &[u8]) {
        if self.entries.get(key).is_some_and(|entry| entry.value.is_empty()) {
            self.entries.remove(key);
        }
    }
}

fn unknown(name: &str, args: Args<'_>) -> Answer {
    let args: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
    Err(Refused::Unknown(format!("{name} {}", args.join(" "))))
}

fn count(number: usize) -> Reply {
    Reply::Int(i64::try_from(number).expect("fewer than 2^63"))
}
#[test]
fn what_a_script_publishes_and_leaves_behind_is_told_once_and_until_it_expires() {
    let mut keyspace = Keyspace::default();
    let source = "
        redis.call('SET', KEYS[1], '1', 'PX', 5)
        redis.call('SET', KEYS[2], '2')
        return redis.call('PUBLISH', 'channel', 'news')";
    let keys = [b"brief".to_vec(), b"lasting".to_vec()];
    crate::scripts::Scripts::new()
        .run(&mut keyspace, source, &keys, &[])
        .expect("it runs");
    assert_eq!(
        keyspace.take_published(),
        [(b"channel".to_vec(), b"news".to_vec())]
    );
    assert_eq!(keyspace.take_published(), []);
    let live = |keyspace: &Keyspace| {
        keyspace
            .live_keys()
            .map(|(key, ttl)| (key.to_vec(), ttl))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        live(&keyspace),
        [(b"brief".to_vec(), true), (b"lasting".to_vec(), false)]
    );
    keyspace.set_now(6_000);
    assert_eq!(live(&keyspace), [(b"lasting".to_vec(), false)]);
}
