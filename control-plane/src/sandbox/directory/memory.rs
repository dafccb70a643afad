//! The directory of a replica that is alone.

use std::collections::HashMap;

use async_trait::async_trait;
use dynamic_mcp_shared::ids::SandboxId;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Announced, Claim, Directory, DirectoryLost, Found, Most, Times};
use crate::sandbox::{Owner, Session};

pub struct MemoryDirectory {
    times: Times,
    entries: Mutex<HashMap<SandboxId, Entry>>,
}

struct Entry {
    session: Session,
    state: State,
    /// Until when it is counted.
    counts_until: Instant,
    forgotten_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Ended,
}

impl MemoryDirectory {
    pub fn new(times: Times) -> Self {
        Self {
            times,
            entries: Mutex::default(),
        }
    }

    fn entry(&self, session: &Session, state: State, now: Instant) -> Entry {
        let counts_for = match state {
            State::Opening => self.times.opening,
            State::Open => self.times.announced,
            State::Ended => std::time::Duration::ZERO,
        };
        Entry {
            session: session.clone(),
            state,
            counts_until: now + counts_for,
            forgotten_at: now + self.times.kept,
        }
    }
}

impl Entry {
    fn counts(&self, now: Instant) -> bool {
        self.state != State::Ended && now < self.counts_until
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn claim(&self, session: &Session, most: Most) -> Result<Claim, DirectoryLost> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| now < entry.forgotten_at);
        let counted = entries.values().filter(|entry| entry.counts(now));
        let (mut in_all, mut of_tenant) = (0, 0);
        for entry in counted {
            in_all += 1;
            of_tenant += u32::from(entry.session.tenant == session.tenant);
        }
        if of_tenant >= most.of_tenant {
            return Ok(Claim::TenantFull);
        }
        if in_all >= most.in_all {
            return Ok(Claim::Full);
        }
        entries.insert(session.id.clone(), self.entry(session, State::Opening, now));
        Ok(Claim::Made)
    }

    async fn settle(&self, session: &Session) -> Result<bool, DirectoryLost> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        match entries.get_mut(&session.id) {
            Some(entry)
                if entry.state == State::Opening
                    && entry.session.home == session.home
                    && entry.counts(now) =>
            {
                *entry = self.entry(session, State::Open, now);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn find(&self, id: &SandboxId) -> Result<Option<Found>, DirectoryLost> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let entry = entries.get(id).filter(|entry| now < entry.forgotten_at);
        Ok(entry.and_then(|entry| match entry.state {
            State::Opening => None,
            State::Open => Some(Found::Open(entry.session.clone())),
            State::Ended => Some(Found::Ended(entry.session.clone())),
        }))
    }

    async fn end(&self, session: &Session) -> Result<bool, DirectoryLost> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        match entries.get_mut(&session.id) {
            Some(entry) if entry.session.home != session.home => Ok(false),
            Some(entry) => {
                let was = entry.state == State::Open;
                *entry = self.entry(session, State::Ended, now);
                Ok(was)
            }
            None => {
                entries.insert(session.id.clone(), self.entry(session, State::Ended, now));
                Ok(false)
            }
        }
    }

    async fn of_owner(&self, owner: &Owner) -> Result<Vec<Session>, DirectoryLost> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let mut sessions: Vec<_> = entries
            .values()
            .filter(|entry| entry.state == State::Open && entry.counts(now) && entry.session.is_of(owner))
            .map(|entry| entry.session.clone())
            .collect();
        sessions.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
        Ok(sessions)
    }

    async fn announce(&self, session: &Session) -> Result<Announced, DirectoryLost> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let state = entries
            .get(&session.id)
            .filter(|entry| now < entry.forgotten_at)
            .map(|entry| (entry.state, entry.session.home == session.home, entry.counts(now)));
        Ok(match state {
            Some((State::Opening, true, true)) => Announced::Known,
            None | Some((State::Open, true, _)) => {
                entries.insert(session.id.clone(), self.entry(session, State::Open, now));
                Announced::Known
            }
            Some((State::Opening, true, false)) => {
                entries.insert(session.id.clone(), self.entry(session, State::Ended, now));
                Announced::Unwanted
            }
            Some((State::Opening | State::Open, false, _) | (State::Ended, ..)) => Announced::Unwanted,
        })
    }

    /// It begins and ends with its process.
    async fn generation(&self) -> Result<u64, DirectoryLost> {
        Ok(0)
    }

    async fn is_filling(&self) -> Result<bool, DirectoryLost> {
        Ok(false)
    }
}
