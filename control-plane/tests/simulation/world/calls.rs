//! A call, as a replica takes it through its life: stands for `jobs` and `Scheduler::run`. The retry rule and placement
//! are the product's.

use dynamic_mcp_control_plane::scheduler::fleet::Reservation;
use dynamic_mcp_control_plane::scheduler::placement::{Need, NoPlace};
use dynamic_mcp_control_plane::scheduler::retry::{self, Next};
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::RejectReason;

use super::executors::IMAGE;
use super::{Event, World};
use crate::kernel::{Kernel, MS, Micros, SECOND};
use crate::network::Place;
use crate::plan::{Plan, Planted};
use crate::truth::{Tenant, Told};

/// `SchedulerConfig::max_wait`.
const MAX_WAIT: Micros = 10 * SECOND;
const LOOK_AGAIN: Micros = 50 * MS;

pub struct CallState {
    pub tenant: Tenant,
    pub arrives_at: Micros,
    /// How long its code runs when it is let.
    pub runs: Micros,
    pub timeout: Micros,
    gives_up_after: Option<Micros>,
    wants_what_nobody_has: bool,
    pub replica: usize,
    pub stage: Stage,
    /// How often a slot was asked for.
    pub attempts: u32,
    pub ticket: Option<String>,
    pub reservation: Option<Reservation>,
    tried: Vec<ExecutorId>,
    give_up_placing_at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Coming,
    /// At the guard, which is asked, or in its queue.
    Asking,
    Placing,
    Conversing(u64),
    Over,
}

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Arrives,
    Place,
    ClientGivesUp,
}

impl CallState {
    pub fn draw(plan: &Plan, kernel: &mut Kernel<Event>) -> Self {
        let runs = match kernel.index(10) {
            0 => kernel.between(MS, plan.longest_run * 2),
            1..=4 => kernel.between(100 * MS, plan.longest_run / 4),
            _ => kernel.between(MS, 300 * MS),
        };
        // One tenant floods.
        let tenant = if kernel.chance(40) {
            0
        } else {
            kernel.index(plan.tenants)
        };
        let gives_up = kernel.chance(8);
        Self {
            tenant,
            arrives_at: kernel.between(SECOND / 2, plan.duration),
            runs,
            timeout: plan.longest_run,
            gives_up_after: gives_up.then(|| kernel.between(0, 3 * SECOND)),
            wants_what_nobody_has: kernel.chance(1),
            replica: usize::MAX,
            stage: Stage::Coming,
            attempts: 0,
            ticket: None,
            reservation: None,
            tried: Vec::new(),
            give_up_placing_at: 0,
        }
    }
}

impl World {
    pub fn call_steps(&mut self, call: usize, step: Step) {
        match (step, self.calls[call].stage) {
            (Step::Arrives, Stage::Coming) => self.call_arrives(call),
            (Step::Place, Stage::Placing) => self.place(call),
            (Step::ClientGivesUp, Stage::Conversing(conversation)) => self.converse_no_more(conversation),
            (Step::ClientGivesUp, Stage::Placing | Stage::Asking) => self.call_ends(call, Told::Cancelled),
            _ => {}
        }
    }

    /// At any replica that is up, through a proxy that knows no more than that.
    fn call_arrives(&mut self, call: usize) {
        let up: Vec<_> = (0..self.replicas.len())
            .filter(|&replica| self.replicas[replica].is_up)
            .collect();
        self.truth.arrives(call);
        if up.is_empty() {
            self.calls[call].stage = Stage::Over;
            return self.truth.tell(call, Told::ReplicaGone);
        }
        let state = &mut self.calls[call];
        state.replica = up[self.kernel.index(up.len())];
        state.stage = Stage::Asking;
        self.under_way[state.replica].insert(call);
        if let Some(after) = state.gives_up_after {
            self.kernel.after(after, Event::Call(call, Step::ClientGivesUp));
        }
        if self.replicas[self.calls[call].replica].frozen.is_some() {
            // Accepted by its machine, not yet by it.
            return self.defer_acquire(call);
        }
        self.guard_acquires(call);
    }

    pub fn call_has_permit(&mut self, call: usize, ticket: String) {
        let state = &mut self.calls[call];
        state.stage = Stage::Placing;
        state.ticket = Some(ticket);
        state.give_up_placing_at = self.kernel.now() + MAX_WAIT;
        self.place(call);
    }

    /// Its permit is about to be another's.
    pub fn call_is_revoked(&mut self, call: usize) {
        match self.calls[call].stage {
            Stage::Placing => self.call_ends(call, Told::Interrupted),
            Stage::Conversing(conversation) => self.converse_no_more(conversation),
            Stage::Coming | Stage::Asking | Stage::Over => {}
        }
    }

    /// Stands for `Scheduler::place`.
    fn place(&mut self, call: usize) {
        let state = &self.calls[call];
        let image = if state.wants_what_nobody_has {
            "nobody:has"
        } else {
            IMAGE
        };
        let fleet = &self.replicas[state.replica].fleet;
        let why = match fleet.reserve(Need::Node { image }, &state.tried) {
            Ok(reservation) => {
                let executor = executor_number(reservation.executor());
                self.calls[call].reservation = Some(reservation);
                self.calls[call].stage = Stage::Conversing(self.conversation_count + 1);
                self.converse(call, executor);
                return;
            }
            Err(why) => why,
        };
        let waiting_helps = match why {
            NoPlace::Full | NoPlace::NotReady => true,
            NoPlace::NoNodes => state.tried.is_empty(),
            NoPlace::NoRuntime | NoPlace::NoImage => false,
        };
        if waiting_helps && self.kernel.now() < state.give_up_placing_at {
            return self.kernel.after(LOOK_AGAIN, Event::Call(call, Step::Place));
        }
        let told = match why {
            NoPlace::NoRuntime | NoPlace::NoImage => Told::Unsatisfiable,
            NoPlace::Full | NoPlace::NotReady | NoPlace::NoNodes => Told::NeverStarted,
        };
        self.call_ends(call, told);
    }

    pub fn call_was_not_started(&mut self, call: usize, reason: RejectReason) {
        let state = &mut self.calls[call];
        let Some(reservation) = state.reservation.take() else {
            return;
        };
        state.tried.push(reservation.executor().clone());
        match retry::next(reason, state.tried.len()) {
            Next::GiveUp => self.call_ends(call, Told::NeverStarted),
            Next::Elsewhere => {
                state.stage = Stage::Placing;
                self.kernel.after(0, Event::Call(call, Step::Place));
            }
        }
    }

    pub fn call_ends(&mut self, call: usize, told: Told) {
        let state = &mut self.calls[call];
        if state.stage == Stage::Over {
            return;
        }
        state.stage = Stage::Over;
        state.reservation = None;
        self.under_way[state.replica].remove(&call);
        self.truth.tell(call, told);
        if let Some(ticket) = self.calls[call].ticket.take() {
            if told == Told::Interrupted && self.plan.planted != Some(Planted::GivesBackAtOnce) {
                // Its code may run until the executor finds the connection broken, too.
                self.guard_gives_back_later(call, ticket);
            } else {
                self.guard_gives_back(call, ticket);
            }
        }
    }

    pub fn calls_under_way(&mut self, replica: usize) -> Vec<usize> {
        std::mem::take(&mut self.under_way[replica]).into_iter().collect()
    }

    /// Where what happens to a call happens.
    pub fn place_of_call(&self, call: usize) -> Option<Place> {
        let state = &self.calls[call];
        (state.stage != Stage::Coming).then_some(Place::Replica(state.replica))
    }

    /// Nothing more will come or go wrong, and every call has its outcome: what only keeps things going may end.
    pub fn is_over(&self) -> bool {
        self.kernel.now() > self.plan.duration + self.plan.aftermath() && self.truth.is_at_rest()
    }
}

fn executor_number(id: &ExecutorId) -> usize {
    id.as_str()[ExecutorId::PREFIX.len()..].parse().unwrap()
}
