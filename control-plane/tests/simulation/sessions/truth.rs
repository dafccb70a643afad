//! What really happened to sessions, seen from above.

use std::collections::{BTreeMap, BTreeSet};

use super::{Home, Plan, Session};
use crate::kernel::{Micros, SECOND};
use crate::truth::Violation;

#[derive(Default)]
pub struct Truth {
    pub now: Micros,
    tells_story: bool,
    in_all: usize,
    /// Where there is a container for it.
    live: BTreeMap<Session, Home>,
    /// What a client was given.
    handed: BTreeMap<Session, Home>,
    /// What somebody has asked the directory to end.
    leaving: BTreeSet<Session>,
    /// What its client was told that it is no more.
    over: BTreeMap<Session, Micros>,
    was_emptied: bool,
    counts: BTreeMap<&'static str, usize>,
    violation: Option<Violation>,
}

impl Truth {
    pub fn new(plan: &Plan) -> Self {
        Self {
            tells_story: plan.tells_story,
            in_all: plan.in_all,
            ..Self::default()
        }
    }

    pub fn broken(&mut self, what: impl Into<String>) {
        let what = format!("at {:.6} s: {}", self.now as f64 / SECOND as f64, what.into());
        self.violation.get_or_insert(Violation(what));
    }

    pub fn holds(&self) -> Result<(), Violation> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.tells_story {
            println!("{:12.6} {}", self.now as f64 / SECOND as f64, what());
        }
    }

    pub fn summary(&self) -> String {
        format!("{:?}", self.counts)
    }

    /// A container is made for it.
    pub fn begins(&mut self, session: Session, home: Home) {
        self.note(|| format!("session {session} begins at {home:?}"));
        if let Some(other) = self.live.insert(session, home) {
            self.broken(format!("session {session} has two homes: {home:?} and {other:?}"));
        }
    }

    pub fn ends(&mut self, session: Session) {
        self.note(|| format!("session {session} ends"));
        self.live.remove(&session);
    }

    pub fn is_handed(&mut self, session: Session, home: Home) {
        *self.counts.entry("opened").or_default() += 1;
        self.note(|| format!("session {session} at {home:?} is given to its client"));
        self.handed.insert(session, home);
        let live = self
            .handed
            .keys()
            .filter(|session| self.live.contains_key(session) && !self.leaving.contains(session));
        let live = live.count();
        if live > self.in_all && !self.was_emptied {
            self.broken(format!("{live} sessions are open, and {} may be", self.in_all));
        }
    }

    pub fn handed(&self) -> Vec<Session> {
        self.handed.keys().copied().collect()
    }

    pub fn is_served(&mut self, session: Session, at: Home) {
        *self.counts.entry("used").or_default() += 1;
        if self.handed.get(&session) != Some(&at) {
            let handed = self.handed.get(&session).copied();
            self.broken(format!("session {session} of {handed:?} is served at {at:?}"));
        }
    }

    /// What was asked at that time; what was under way when it ended may still be answered.
    pub fn answers_its_client(&mut self, session: Session, asked_at: Micros) {
        let is_over = self.over.get(&session).is_some_and(|&over_at| over_at < asked_at);
        if is_over && !self.was_emptied {
            self.broken(format!(
                "session {session} answers after its client was told that it is no more"
            ));
        }
    }

    pub fn is_leaving(&mut self, session: Session) {
        self.leaving.insert(session);
    }

    pub fn is_refused(&mut self, why: &'static str) {
        *self.counts.entry(why).or_default() += 1;
    }

    pub fn is_over(&mut self, session: Session) {
        self.note(|| format!("the client of session {session} is told that it is no more"));
        *self.counts.entry("over").or_default() += 1;
        self.over.entry(session).or_insert(self.now);
    }

    /// It may forget which have ended.
    pub fn directory_was_emptied(&mut self) {
        self.was_emptied = true;
    }

    pub fn check_end(&mut self, session: Session, is_there: bool, is_open: bool, counts: bool) {
        let wanted = self.handed.contains_key(&session) && !self.over.contains_key(&session);
        if is_there && wanted && !is_open {
            self.broken(format!(
                "session {session} lives, its client has it, and nobody finds it"
            ));
        }
        // One whose replica died before its client was told of it is open, until it was idle for too long.
        if is_there && !wanted && !is_open && !self.was_emptied {
            self.broken(format!("session {session} lives, and nobody has it"));
        }
        if counts && !is_there {
            self.broken(format!("session {session} takes a place, and does not live"));
        }
    }
}
