//! What replicas tell each other of legacy sessions, and what they keep of them together. A replica that is alone has
//! nobody to tell.

mod alone;
mod letter;
mod redis;
mod scripts;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::{ReplicaId, TenantId};
use futures::stream::BoxStream;
use rmcp::model::ServerJsonRpcMessage;

pub use self::alone::Alone;
pub use self::letter::{Content, Kept, Letter, News};
pub use self::redis::SharedSessions;
use crate::principal::Principal;
use crate::redis::RedisError;

/// What a session is made of, so that another replica can serve it.
#[derive(Debug, Clone)]
pub struct Record {
    pub owner: Principal,
    /// The parameters of its `initialize`, as JSON.
    pub opening: String,
    /// What its client has set for all its requests: requests as JSON, by what they set.
    pub kept: BTreeMap<String, String>,
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    pub of_tenant: usize,
    pub in_all: usize,
}

/// How the replicas see a session of which this one has a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Here,
    /// Nobody knows it. It has not been written yet, or what it was written to has been emptied.
    Unknown,
    /// Its client has ended it, or it had to go.
    Ended,
}

/// A session and since when it is idle; `None` for one in use.
pub struct Use<'a> {
    pub id: &'a str,
    pub tenant: &'a TenantId,
    pub idle: Option<Duration>,
}

/// A session that has to go, and whose it is.
#[derive(Debug)]
pub struct Evicted {
    pub id: String,
    pub tenant: TenantId,
}

/// Of a GET stream.
pub struct Event {
    pub id: String,
    pub message: ServerJsonRpcMessage,
}

pub enum Taken {
    Events(Vec<Event>),
    /// Another stream reads now, on this replica or another one.
    Replaced,
    Unknown,
}

/// A piece of the stream of a request that is read on another replica than the one where it runs.
#[derive(Debug)]
pub enum Piece {
    /// Event id and message, if it has one.
    Event(String, Option<Box<ServerJsonRpcMessage>>),
    End,
}

/// Of a piece among those that have come.
pub type Place = String;

#[derive(Debug)]
pub struct Relayed {
    pub place: Place,
    pub piece: Piece,
}

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("there is no other replica to share sessions with")]
    Alone,
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("{0} sessions are open, the most allowed, and none of them is idle")]
    Full(usize),
    #[error("nobody knows the session")]
    Unknown,
    #[error("what is kept of a session can't be read: {0}")]
    Garbled(#[from] serde_json::Error),
}

#[async_trait]
pub trait SessionBus: Send + Sync + 'static {
    /// Who this replica is to the others.
    fn replica(&self) -> &ReplicaId;

    /// Counts a session that is about to begin, and says which one must go for it.
    async fn admit(&self, id: &str, tenant: &TenantId, caps: Caps) -> Result<Option<Evicted>, BusError>;

    /// Makes a session known, with a copy here.
    async fn write(&self, id: &str, record: &Record) -> Result<Held, BusError>;

    async fn find(&self, id: &str) -> Result<Option<Record>, BusError>;

    /// Says that this replica has a copy, and that the session lives.
    async fn hold(&self, id: &str) -> Result<Held, BusError>;

    /// Says how sessions are used here.
    async fn report(&self, uses: &[Use<'_>]) -> Result<(), BusError>;

    /// Says that this replica has no copy any more.
    async fn leave(&self, id: &str) -> Result<(), BusError>;

    /// Ends it everywhere.
    async fn end(&self, id: &str, tenant: &TenantId) -> Result<(), BusError>;

    /// Keeps what a client has set, or takes it back, and tells the other copies.
    async fn keep(&self, id: &str, kept: Kept) -> Result<(), BusError>;

    /// To all replicas that have a copy but this one.
    async fn tell_copies(&self, letter: &Letter) -> Result<(), BusError>;

    /// Whether there is such a replica.
    async fn send(&self, to: &ReplicaId, letter: &Letter) -> Result<bool, BusError>;

    /// For the session's GET stream, whichever replica has it.
    async fn post(&self, id: &str, message: &ServerJsonRpcMessage) -> Result<(), BusError>;

    /// The GET stream is here from now on. It goes on after the event that is named, or where the one before was.
    async fn claim(&self, id: &str, reader: &str, after: Option<&str>) -> Result<(), BusError>;

    /// What that stream has not read yet.
    async fn take(&self, id: &str, reader: &str) -> Result<Taken, BusError>;

    async fn relay(&self, id: &str, to: &ReplicaId, token: &str, piece: &Piece) -> Result<(), BusError>;

    /// The pieces that have come since those that were got by the look before.
    async fn relayed(&self, id: &str, token: &str, got: &[Place]) -> Result<Vec<Relayed>, BusError>;

    async fn is_alive(&self, replica: &ReplicaId) -> Result<bool, BusError>;

    /// What comes for this replica, without end.
    fn news(&self) -> BoxStream<'static, News>;
}
