//! How far the database is behind the files, for those who write and rotate them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Everything in files below this number is in the database.
#[derive(Debug)]
pub(super) struct Backlog {
    reading: AtomicU64,
    /// Whether lines that were not sent yet may go with their file.
    may_lose: bool,
}

impl Backlog {
    /// While nobody sends, nothing waits to be sent.
    pub(super) const fn new(may_lose: bool) -> Self {
        Self {
            reading: AtomicU64::new(u64::MAX),
            may_lose,
        }
    }

    pub(super) fn is_reading(&self, number: u64) {
        self.reading.store(number, Ordering::Release);
    }

    /// Whether what is older than `oldest_kept` may be deleted.
    pub(super) fn lets_go(&self, oldest_kept: u64) -> bool {
        self.may_lose || self.reading.load(Ordering::Acquire) >= oldest_kept
    }
}
