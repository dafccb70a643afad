//! What one replica says to another.

use dynamic_mcp_shared::ids::ReplicaId;
use serde::{Deserialize, Serialize};

/// About one session, for the copy of it at another replica.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Letter {
    pub session: String,
    pub content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub enum Content {
    /// A message of the client, as JSON.
    Message(String),
    Kept(Kept),
    Ended,
    /// To send the rest of the stream of a request to another replica.
    Resume {
        last_event_id: String,
        to: ReplicaId,
        token: String,
    },
}

/// A request that sets something for all requests of its session.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Kept {
    /// What it sets: a later one of the same name replaces it.
    pub name: String,
    /// As JSON.
    pub request: String,
    /// Whether it takes back what the one before has set.
    pub takes_back: bool,
}

/// What comes for this replica.
#[derive(Debug)]
pub enum News {
    /// It hears from now on, and may have missed something before.
    Listening,
    Letters(Vec<Letter>),
    /// There is something for the GET stream of a session here. `changed`: that a list has changed, which several
    /// replicas say at about the same time.
    Posted {
        session: String,
        changed: bool,
    },
    /// A piece of a stream that is read here.
    Relayed {
        token: String,
    },
}
