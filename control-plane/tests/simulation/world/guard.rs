//! The guard's side in a replica: which leases are its own, who waits here, when it renews and what it gives back. Stands
//! for `guard::redis` without what runs in Redis: that are the product's scripts.

use std::collections::{BTreeMap, VecDeque};

use dynamic_mcp_control_plane::guard::{Lease, SILENCE_ENDS_CODE};

use super::calls::Stage;
use super::store::{Ask, Script};
use super::{Event as Anything, World};
use crate::kernel::{MS, Micros, SECOND, micros};
use crate::keyspace::Reply;
use crate::plan::Planted;
use crate::truth::Told;

/// `RedisConfig`'s deadline.
pub const DEADLINE: Micros = 500 * MS;
const TRY_EVERY: Micros = 250 * MS;
const POLL_EVERY: Micros = 250 * MS;
const QUEUE_WAIT: Micros = 10 * SECOND;
const MAX_ATTEMPTS: u32 = 3;
const MAX_EARLY: usize = 256;

/// How long a replica's word counts, as the product has it.
pub fn lease() -> Micros {
    micros(Lease::default().length)
}

fn renew_every() -> Micros {
    micros(Lease::default().renew_every)
}

/// How long a call may run on what was asked for, unless that is renewed.
fn lease_of_call() -> Micros {
    micros(Lease::default().length - Lease::default().margin)
}

/// How long a call that waits may be without a sign of its replica, in milliseconds.
pub fn sign_ms() -> Micros {
    micros(Lease::default().sign) / MS
}

#[derive(Debug)]
pub enum Event {
    Acquire(usize),
    GiveBack {
        call: usize,
        ticket: String,
    },
    /// It has waited as long as it may.
    WaitOver(String),
    Renew(u64),
    Poll,
    Deadline(u64),
}

/// What of it a replica has in memory.
pub struct GuardSide {
    pub name: String,
    epoch: String,
    permits: u64,
    pub asks: BTreeMap<u64, Asked>,
    held: BTreeMap<String, Held>,
    waiting: BTreeMap<String, Waiter>,
    early: VecDeque<(String, Word)>,
    returns: Vec<(String, usize)>,
    is_returning: bool,
    /// Of the renewals that are due, the one that counts.
    renewal: u64,
    is_renewing: bool,
    /// Calls that found another state, and go on when all is counted in.
    again: Vec<usize>,
}

struct Held {
    call: usize,
    until: Micros,
    is_revoked: bool,
}

struct Waiter {
    call: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Granted,
    GaveWay,
}

/// What this replica asked Redis.
#[derive(Debug)]
pub enum Asked {
    Take { call: usize, at: Micros },
    Begin { call: usize, ticket: String, at: Micros },
    GiveBack,
    Poll { tickets: Vec<String> },
    Renew { tickets: Vec<String>, at: Micros },
}

impl GuardSide {
    pub fn new(number: usize, life: u32) -> Self {
        Self {
            name: format!("rep_{number}x{life}"),
            epoch: String::new(),
            permits: 0,
            asks: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            early: VecDeque::new(),
            returns: Vec::new(),
            is_returning: false,
            renewal: 0,
            is_renewing: false,
            again: Vec::new(),
        }
    }
}

impl World {
    pub fn guard_begins(&mut self, replica: usize) {
        self.guard_later(replica, 0, Event::Renew(0));
        self.guard_later(replica, POLL_EVERY, Event::Poll);
    }

    fn guard_later(&mut self, replica: usize, delay: Micros, event: Event) {
        let life = self.replicas[replica].life;
        self.kernel
            .after(delay, Anything::Replica { replica, life, event });
    }

    pub fn guard_event(&mut self, replica: usize, event: Event) {
        match event {
            Event::Acquire(call) if self.calls[call].stage == Stage::Asking => self.guard_acquires(call),
            Event::Acquire(_) => {}
            Event::GiveBack { call, ticket } => self.guard_gives_back(call, ticket),
            Event::WaitOver(ticket) => {
                if let Some(waiter) = self.replicas[replica].guard.waiting.remove(&ticket) {
                    self.guard_refuses(replica, waiter.call, ticket, Told::Refused);
                }
            }
            Event::Renew(number) if self.replicas[replica].guard.renewal == number => {
                self.guard_renews(replica)
            }
            Event::Renew(_) => {}
            Event::Poll => self.guard_polls(replica),
            Event::Deadline(number) => {
                if let Some(asked) = self.replicas[replica].guard.asks.remove(&number) {
                    self.guard_is_not_answered(replica, asked);
                }
            }
        }
    }

    pub fn guard_acquires(&mut self, call: usize) {
        let state = &mut self.calls[call];
        state.attempts += 1;
        if state.attempts > MAX_ATTEMPTS {
            return self.call_ends(call, Told::StoreLost);
        }
        let (replica, tenant) = (state.replica, state.tenant);
        let waits = (state.arrives_at + QUEUE_WAIT).saturating_sub(self.kernel.now()) / MS;
        let guard = &mut self.replicas[replica].guard;
        let permit = format!("{}.{}", guard.name, guard.permits);
        guard.permits += 1;
        let ask = Ask::new(Script::Take, &guard.epoch, &self.plan)
            .windows(tenant)
            .arg(format!("t{tenant}"))
            .arg(permit)
            .arg("run")
            .arg(self.plan.tenant_limit)
            .arg(self.plan.weight(tenant))
            .arg(lease() / MS)
            .arg(waits)
            .arg(self.plan.max_waiting)
            .arg(60_000_000)
            .arg(1_000_000)
            .arg(-1)
            .count_bounds();
        let at = self.kernel.now();
        self.guard_asks(replica, Asked::Take { call, at }, ask);
    }

    fn guard_asks_again(&mut self, call: usize) {
        if self.calls[call].stage == Stage::Asking {
            self.guard_acquires(call);
        }
    }

    fn guard_asks(&mut self, replica: usize, asked: Asked, ask: Ask) {
        let number = self.ask_redis(replica, ask);
        self.replicas[replica].guard.asks.insert(number, asked);
        self.guard_later(replica, DEADLINE, Event::Deadline(number));
    }

    pub fn guard_is_answered(&mut self, replica: usize, number: u64, reply: &Reply) {
        // Nobody waits for what comes after its deadline.
        let Some(asked) = self.replicas[replica].guard.asks.remove(&number) else {
            return;
        };
        let words = words(reply);
        match asked {
            Asked::Take { call, at } => self.guard_took(replica, call, at, &words),
            Asked::Begin { call, ticket, at } => {
                if words == ["1"] {
                    self.guard_granted(replica, call, ticket, at);
                } else {
                    self.guard_refuses(replica, call, ticket, Told::Refused);
                }
            }
            Asked::GiveBack => self.guard_returns_more(replica),
            Asked::Poll { tickets } => self.guard_polled(replica, tickets, &words),
            Asked::Renew { tickets, at } => self.guard_renewed(replica, tickets, at, &words),
        }
    }

    fn guard_is_not_answered(&mut self, replica: usize, asked: Asked) {
        match asked {
            Asked::Take { call, .. } => self.guard_loses_store(replica, call),
            Asked::Begin { call, ticket, .. } => {
                self.guard_returns(replica, ticket, call);
                self.guard_loses_store(replica, call);
            }
            // What does not arrive comes back by its expiry.
            Asked::GiveBack => self.guard_returns_more(replica),
            Asked::Poll { .. } => {
                for (ticket, waiter) in std::mem::take(&mut self.replicas[replica].guard.waiting) {
                    self.guard_returns(replica, ticket, waiter.call);
                    self.guard_loses_store(replica, waiter.call);
                }
            }
            Asked::Renew { .. } => {
                self.replicas[replica].guard.is_renewing = false;
                for call in std::mem::take(&mut self.replicas[replica].guard.again) {
                    self.guard_loses_store(replica, call);
                }
                self.guard_ends_overdue(replica);
                self.guard_renews_in(replica, TRY_EVERY);
            }
        }
    }

    fn guard_loses_store(&mut self, replica: usize, call: usize) {
        self.call_ends(call, Told::StoreLost);
        self.guard_renews_in(replica, 0);
    }

    fn guard_took(&mut self, replica: usize, call: usize, at: Micros, words: &[&str]) {
        match *words {
            ["granted", ticket] => self.guard_granted(replica, call, ticket.to_owned(), at),
            ["waiting", ticket, ..] => self.guard_waits(replica, call, ticket.to_owned()),
            ["busy", ..] | ["rate", ..] => self.call_ends(call, Told::Refused),
            ["epoch", _] => {
                self.replicas[replica].guard.again.push(call);
                self.guard_renews_in(replica, 0);
            }
            _ => self.truth.broken(format!("take answered {words:?}")),
        }
    }

    fn guard_granted(&mut self, replica: usize, call: usize, ticket: String, at: Micros) {
        // The answer lay here while this process was held still: the slot may be another's by now.
        if at + lease_of_call() <= self.kernel.now() {
            self.guard_returns(replica, ticket, call);
            return self.guard_asks_again(call);
        }
        // Its caller gave up meanwhile: nobody else knows of the slot.
        if self.calls[call].stage != Stage::Asking {
            return self.guard_returns(replica, ticket, call);
        }
        // Counted from when it was asked for, which is before Redis began to count.
        let lease = Held {
            call,
            until: at + lease_of_call(),
            is_revoked: false,
        };
        self.replicas[replica].guard.held.insert(ticket.clone(), lease);
        self.call_has_permit(call, ticket);
    }

    fn guard_waits(&mut self, replica: usize, call: usize, ticket: String) {
        if self.calls[call].stage != Stage::Asking {
            return self.guard_returns(replica, ticket, call);
        }
        let guard = &mut self.replicas[replica].guard;
        guard.waiting.insert(ticket.clone(), Waiter { call });
        if let Some(index) = guard.early.iter().position(|(early, _)| *early == ticket) {
            let (_, word) = guard.early.remove(index).unwrap();
            return self.guard_tells(replica, &ticket, word);
        }
        let until = self.calls[call].arrives_at + QUEUE_WAIT;
        let wait = until.saturating_sub(self.kernel.now());
        self.guard_later(replica, wait, Event::WaitOver(ticket));
    }

    /// What was published on the replica's channel.
    pub fn guard_hears(&mut self, replica: usize, text: &str) {
        let word = if text.starts_with('+') {
            Word::Granted
        } else {
            Word::GaveWay
        };
        let ticket = &text[1..];
        let guard = &mut self.replicas[replica].guard;
        if guard.waiting.contains_key(ticket) {
            return self.guard_tells(replica, ticket, word);
        }
        if guard.early.len() == MAX_EARLY {
            guard.early.pop_front();
        }
        guard.early.push_back((ticket.to_owned(), word));
    }

    fn guard_tells(&mut self, replica: usize, ticket: &str, word: Word) {
        let Some(waiter) = self.replicas[replica].guard.waiting.remove(ticket) else {
            return;
        };
        let call = waiter.call;
        if self.calls[call].stage != Stage::Asking {
            return self.guard_returns(replica, ticket.to_owned(), call);
        }
        match word {
            Word::GaveWay => self.guard_refuses(replica, call, ticket.to_owned(), Told::Refused),
            Word::Granted => {
                let guard = &self.replicas[replica].guard;
                let ask = Ask::new(Script::Begin, &guard.epoch, &self.plan)
                    .windows(self.calls[call].tenant)
                    .arg(ticket)
                    .arg("run")
                    .arg(lease() / MS)
                    .arg(60_000_000)
                    .count_bounds()
                    .arg(0);
                let (ticket, at) = (ticket.to_owned(), self.kernel.now());
                self.guard_asks(replica, Asked::Begin { call, ticket, at }, ask);
            }
        }
    }

    fn guard_refuses(&mut self, replica: usize, call: usize, ticket: String, told: Told) {
        self.guard_returns(replica, ticket, call);
        self.call_ends(call, told);
    }

    pub fn guard_gives_back_later(&mut self, call: usize, ticket: String) {
        let replica = self.calls[call].replica;
        self.guard_later(
            replica,
            micros(SILENCE_ENDS_CODE),
            Event::GiveBack { call, ticket },
        );
    }

    pub fn guard_gives_back(&mut self, call: usize, ticket: String) {
        let replica = self.calls[call].replica;
        self.replicas[replica].guard.held.remove(&ticket);
        self.guard_returns(replica, ticket, call);
    }

    fn guard_returns(&mut self, replica: usize, ticket: String, call: usize) {
        let guard = &mut self.replicas[replica].guard;
        guard.returns.push((ticket, self.calls[call].tenant));
        if !guard.is_returning {
            self.guard_returns_more(replica);
        }
    }

    /// What comes while one batch is on its way goes with the next.
    fn guard_returns_more(&mut self, replica: usize) {
        let guard = &mut self.replicas[replica].guard;
        let batch = std::mem::take(&mut guard.returns);
        guard.is_returning = !batch.is_empty();
        if batch.is_empty() {
            return;
        }
        let mut ask = Ask::new(Script::GiveBack, &guard.epoch, &self.plan);
        for (_, tenant) in &batch {
            ask = ask.held(*tenant);
        }
        ask = ask.count_bounds();
        for (ticket, _) in batch {
            ask = ask.arg(ticket).arg("run").arg("");
        }
        self.guard_asks(replica, Asked::GiveBack, ask);
    }

    fn guard_polls(&mut self, replica: usize) {
        let guard = &mut self.replicas[replica].guard;
        // A caller that gave up leaves the queue.
        let gone: Vec<_> = guard
            .waiting
            .iter()
            .filter(|(_, waiter)| self.calls[waiter.call].stage != Stage::Asking)
            .map(|(ticket, waiter)| (ticket.clone(), waiter.call))
            .collect();
        for (ticket, call) in gone {
            self.replicas[replica].guard.waiting.remove(&ticket);
            self.guard_returns(replica, ticket, call);
        }
        let guard = &self.replicas[replica].guard;
        if !guard.waiting.is_empty() {
            let tickets: Vec<_> = guard.waiting.keys().cloned().collect();
            let mut ask = Ask::new(Script::Poll, &guard.epoch, &self.plan);
            for ticket in &tickets {
                ask = ask.arg(ticket);
            }
            self.guard_asks(replica, Asked::Poll { tickets }, ask);
        }
        if !self.is_over() {
            self.guard_later(replica, POLL_EVERY, Event::Poll);
        }
    }

    fn guard_polled(&mut self, replica: usize, tickets: Vec<String>, words: &[&str]) {
        if words[0] != self.replicas[replica].guard.epoch {
            for (_, waiter) in std::mem::take(&mut self.replicas[replica].guard.waiting) {
                self.guard_asks_again(waiter.call);
            }
            return;
        }
        for (ticket, state) in tickets.iter().zip(&words[1..]) {
            match *state {
                "2" => self.guard_tells(replica, ticket, Word::Granted),
                "0" => self.guard_tells(replica, ticket, Word::GaveWay),
                _ => {}
            }
        }
    }

    fn guard_renews_in(&mut self, replica: usize, delay: Micros) {
        if self.replicas[replica].guard.is_renewing {
            return;
        }
        let guard = &mut self.replicas[replica].guard;
        guard.renewal += 1;
        let number = guard.renewal;
        self.guard_later(replica, delay, Event::Renew(number));
    }

    fn guard_renews(&mut self, replica: usize) {
        if self.is_over() || self.replicas[replica].guard.is_renewing {
            return;
        }
        // Before it is asked: after this process was held still the answer would come too late.
        self.guard_ends_overdue(replica);
        let guard = &mut self.replicas[replica].guard;
        guard.is_renewing = true;
        let tickets: Vec<_> = guard.held.keys().cloned().collect();
        let mut ask = Ask::new(Script::Renew, &guard.epoch, &self.plan)
            .replicas()
            .arg(&guard.name)
            .arg(lease() / MS);
        for ticket in &tickets {
            ask = ask.arg(ticket).arg(0);
        }
        let at = self.kernel.now();
        self.guard_asks(replica, Asked::Renew { tickets, at }, ask);
    }

    fn guard_renewed(&mut self, replica: usize, tickets: Vec<String>, at: Micros, words: &[&str]) {
        let gone = &words[2..];
        let mut given_back = Vec::new();
        let guard = &mut self.replicas[replica].guard;
        guard.is_renewing = false;
        for ticket in tickets
            .into_iter()
            .filter(|ticket| !gone.contains(&ticket.as_str()))
        {
            match guard.held.get_mut(&ticket) {
                Some(lease) => lease.until = at + lease_of_call(),
                None => given_back.push(ticket),
            }
        }
        words[0].clone_into(&mut guard.epoch);
        let revoked: Vec<_> = gone
            .iter()
            .filter_map(|ticket| {
                let lease = guard.held.get_mut(*ticket).filter(|lease| !lease.is_revoked)?;
                lease.is_revoked = true;
                Some(lease.call)
            })
            .collect();
        let again = std::mem::take(&mut guard.again);
        for ticket in given_back {
            // It was given back while the script was on its way that may have counted it in.
            let tenant = ticket[1..ticket.find(' ').unwrap()].parse().unwrap();
            self.replicas[replica].guard.returns.push((ticket, tenant));
        }
        if !self.replicas[replica].guard.is_returning {
            self.guard_returns_more(replica);
        }
        for call in revoked {
            self.call_is_revoked(call);
        }
        for call in again {
            self.guard_asks_again(call);
        }
        self.guard_ends_overdue(replica);
        let held = self.replicas[replica].guard.held.values();
        let overdue = held
            .filter(|lease| !lease.is_revoked)
            .map(|lease| lease.until)
            .min();
        let now = self.kernel.now();
        let due = overdue.map_or(renew_every(), |overdue| {
            overdue.saturating_sub(now).min(renew_every())
        });
        self.guard_renews_in(replica, due);
    }

    fn guard_ends_overdue(&mut self, replica: usize) {
        if self.plan.planted == Some(Planted::NoRevocation) {
            return;
        }
        let now = self.kernel.now();
        let held = self.replicas[replica].guard.held.values_mut();
        let overdue: Vec<_> = held
            .filter(|lease| lease.until <= now && !lease.is_revoked)
            .map(|lease| {
                lease.is_revoked = true;
                lease.call
            })
            .collect();
        for call in overdue {
            self.call_is_revoked(call);
        }
    }
}

fn words(reply: &Reply) -> Vec<&str> {
    match reply {
        Reply::Array(items) => items.iter().flat_map(words).collect(),
        Reply::Bulk(bytes) => vec![std::str::from_utf8(bytes).unwrap()],
        Reply::Int(1) => vec!["1"],
        Reply::Int(0) => vec!["0"],
        _ => vec!["?"],
    }
}
