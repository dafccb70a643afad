//! What the clients saw: each request with an id of its own, and what it was told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What a client knows of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The outcome of a run.
    Outcome(String),
    /// A write: whether it was done.
    Written(bool),
    /// An error of the protocol, by its code and message.
    Error(String),
    /// Nothing: the connection broke, or the client went away.
    Nothing,
}

/// By the id that the request carried.
pub(super) struct Journal {
    run: u64,
    next: AtomicU64,
    told: Mutex<BTreeMap<String, Told>>,
}

impl Journal {
    pub(super) fn new(run: u64) -> Self {
        Self {
            run,
            next: AtomicU64::new(1),
            told: Mutex::default(),
        }
    }

    /// Of a request that is about to be sent.
    pub(super) fn request_id(&self) -> String {
        let id = format!("soak-{}-{}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
        self.told.lock().insert(id.clone(), Told::Nothing);
        id
    }

    pub(super) fn told(&self, request_id: String, told: Told) {
        self.told.lock().insert(request_id, told);
    }

    pub(super) fn all(&self) -> BTreeMap<String, Told> {
        self.told.lock().clone()
    }
}
