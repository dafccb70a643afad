//! The calls of this replica that wait for a slot.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::slots::Taken;
use super::super::{Scope, Share};
use super::Shared;
use super::returns::{Count, Return};

/// How many messages are kept for calls of which this replica does not know yet that they wait.
const MAX_EARLY: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Granted,
    /// Another tenant's call took its place in a full queue.
    GaveWay,
    /// The state in Redis was lost: it has to ask again.
    Anew,
    /// Redis does not answer.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<String, oneshot::Sender<Told>>,
    /// What was published before the script's own answer came.
    early: VecDeque<(String, Told)>,
}

impl Waiters {
    fn add(&self, ticket: &str) -> oneshot::Receiver<Told> {
        let (tell, told) = oneshot::channel();
        let mut state = self.0.lock();
        match state.early.iter().position(|(early, _)| early == ticket) {
            Some(index) => {
                if let Some((_, what)) = state.early.remove(index) {
                    // The other end is in this function.
                    let _ = tell.send(what);
                }
            }
            None => {
                state.waiting.insert(ticket.to_owned(), tell);
            }
        }
        told
    }

    fn remove(&self, ticket: &str) {
        self.0.lock().waiting.remove(ticket);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().waiting.is_empty()
    }

    pub(super) fn tickets(&self) -> Vec<String> {
        self.0.lock().waiting.keys().cloned().collect()
    }

    pub(super) fn tell(&self, ticket: &str, what: Told) {
        let mut state = self.0.lock();
        match state.waiting.remove(ticket) {
            // One that has gone gives back what it got.
            Some(waiter) => {
                let _ = waiter.send(what);
            }
            None => {
                if state.early.len() == MAX_EARLY {
                    state.early.pop_front();
                }
                state.early.push_back((ticket.to_owned(), what));
            }
        }
    }

    pub(super) fn tell_if_waiting(&self, ticket: &str, what: Told) {
        if let Some(waiter) = self.0.lock().waiting.remove(ticket) {
            let _ = waiter.send(what);
        }
    }

    pub(super) fn tell_all(&self, what: Told) {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        for waiter in waiting.into_values() {
            let _ = waiter.send(what);
        }
    }
}

/// A call in the queue. Dropped, it leaves it, with the slot if it was handed one.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    ticket: String,
    scope: Scope,
    share: Share,
    /// What it found when it came.
    taken: Taken,
    told: oneshot::Receiver<Told>,
    count: Count,
    has_begun: bool,
    /// Dropped last: then it has left the queue, or its slot is held.
    _user: TaskTrackerToken,
}

impl Waiter {
    pub(super) fn new(shared: Arc<Shared>, ticket: String, scope: Scope, share: Share, taken: Taken) -> Self {
        Self {
            _user: shared.users.token(),
            told: shared.waiters.add(&ticket),
            shared,
            ticket,
            scope,
            share,
            taken,
            count: Count::Nothing,
            has_begun: false,
        }
    }

    pub(super) async fn told(&mut self) -> Told {
        (&mut self.told).await.unwrap_or(Told::Lost)
    }

    pub(super) fn ticket(&self) -> &str {
        &self.ticket
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// It waits no more, and is counted among those that got no slot.
    pub(super) fn refused(mut self) -> Taken {
        self.count = Count::RejectedConcurrency;
        self.taken
    }

    /// It waits no more, since it runs.
    pub(super) fn begun(mut self) -> (String, Scope) {
        self.has_begun = true;
        (self.ticket.clone(), self.scope.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiters.remove(&self.ticket);
        if !self.has_begun {
            self.shared
                .returns
                .push(Return::new(self.ticket.clone(), self.scope.clone(), self.count));
        }
    }
}
