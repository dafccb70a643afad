//! One attempt at a job on one executor, both ends of it. The client's end stands for `scheduler::client`, the server's
//! for the executor's `grpc::conversation`; the slot is the product's.

use std::collections::{BTreeSet, HashMap};

use dynamic_mcp_executor::capacity::Slot;
use dynamic_mcp_shared::ids::JobId;
use dynamic_mcp_shared::job::RejectReason;

use super::wires::{Body, Kind};
use super::{Event, World};
use crate::kernel::{MS, Micros, SECOND};
use crate::network::Place;
use crate::plan::Planted;
use crate::truth::Told;

const PREPARE_DEADLINE: Micros = 30 * SECOND;
const START_DEADLINE: Micros = 10 * SECOND;
const FINISH_GRACE: Micros = 5 * SECOND;
const CANCEL_GRACE: Micros = 2 * SECOND;
/// In percent.
const ENGINE_FAILS: u32 = 2;

/// Which conversations a connection carries or carried.
pub type OnConnection = HashMap<u64, BTreeSet<u64>>;

pub struct Conversation {
    call: usize,
    replica: usize,
    executor: usize,
    epoch: u64,
    connection: u64,
    client: Client,
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Preparing,
    /// The start was written.
    Running,
    Cancelling,
    Over,
}

enum Server {
    Untouched,
    Preparing(Slot),
    Ready(Slot),
    Running(Slot),
    /// Being killed.
    Ending(Slot),
    Over,
}

#[derive(Debug, Clone, Copy)]
pub enum Timer {
    PrepareDeadline,
    FinishDeadline,
    CancelDeadline,
    Prepared,
    NoStart,
    Ends,
    Killed,
}

impl World {
    pub fn converse(&mut self, call: usize, executor: usize) -> u64 {
        let replica = self.calls[call].replica;
        self.conversation_count += 1;
        let number = self.conversation_count;
        let connection = self.dial(Kind::Execute, replica, executor);
        let conversation = Conversation {
            call,
            replica,
            executor,
            epoch: 0,
            connection,
            client: Client::Preparing,
            server: Server::Untouched,
        };
        self.conversations.insert(number, conversation);
        self.on_connection.entry(connection).or_default().insert(number);
        self.tell_executor(number, Body::Prepare(number));
        self.timer(number, PREPARE_DEADLINE, Timer::PrepareDeadline);
        number
    }

    /// The caller gives up: before the start that costs nothing.
    pub fn converse_no_more(&mut self, number: u64) {
        let Some(held) = self.conversations.get_mut(&number) else {
            return;
        };
        match held.client {
            Client::Preparing => {
                held.client = Client::Over;
                let call = held.call;
                self.tell_executor(number, Body::Drop(number));
                self.call_ends(call, Told::Cancelled);
            }
            Client::Running => {
                held.client = Client::Cancelling;
                self.tell_executor(number, Body::Cancel(number));
                self.timer(number, CANCEL_GRACE, Timer::CancelDeadline);
            }
            Client::Cancelling | Client::Over => {}
        }
    }

    fn timer(&mut self, number: u64, delay: Micros, timer: Timer) {
        self.kernel.after(delay, Event::Conversation(number, timer));
    }

    fn tell_executor(&mut self, number: u64, body: Body) {
        let held = &self.conversations[&number];
        let (from, to) = (Place::Replica(held.replica), Place::Executor(held.executor));
        self.send(from, to, held.connection, body);
    }

    fn tell_replica(&mut self, number: u64, body: Body) {
        let held = &self.conversations[&number];
        let (from, to) = (Place::Executor(held.executor), Place::Replica(held.replica));
        self.send(from, to, held.connection, body);
    }

    pub fn client_ready(&mut self, number: u64) {
        let Some(held) = self
            .conversations
            .get_mut(&number)
            .filter(|held| held.client == Client::Preparing)
        else {
            return;
        };
        held.client = Client::Running;
        let deadline = self.calls[held.call].timeout + FINISH_GRACE;
        self.tell_executor(number, Body::Start(number));
        self.timer(number, deadline, Timer::FinishDeadline);
    }

    pub fn client_rejected(&mut self, number: u64, reason: RejectReason) {
        if let Some(call) = self.client_is_told(number) {
            self.call_was_not_started(call, reason);
        }
    }

    pub fn client_finished(&mut self, number: u64, cancelled: bool) {
        if let Some(call) = self.client_is_told(number) {
            self.call_ends(
                call,
                if cancelled {
                    Told::Cancelled
                } else {
                    Told::Finished
                },
            );
        }
    }

    /// Answers the call, unless it is over for the client.
    fn client_is_told(&mut self, number: u64) -> Option<usize> {
        let held = self.conversations.get_mut(&number)?;
        let before = std::mem::replace(&mut held.client, Client::Over);
        (before != Client::Over).then_some(held.call)
    }

    /// The connection broke at the replica's end.
    pub fn clients_lose(&mut self, connection: u64) {
        for number in self.on_connection.get(&connection).cloned().unwrap_or_default() {
            self.client_loses(number);
        }
    }

    /// Before the start was written nothing can have run; after it, nobody here can know.
    fn client_loses(&mut self, number: u64) {
        let Some(held) = self.conversations.get_mut(&number) else {
            return;
        };
        let call = held.call;
        match std::mem::replace(&mut held.client, Client::Over) {
            Client::Preparing => self.call_was_not_started(call, RejectReason::Engine),
            Client::Running | Client::Cancelling if self.plan.planted == Some(Planted::RetryAfterStart) => {
                self.call_was_not_started(call, RejectReason::Engine);
            }
            Client::Running | Client::Cancelling => self.call_ends(call, Told::Interrupted),
            Client::Over => {}
        }
    }

    pub fn clients_are_gone(&mut self, replica: usize) {
        for held in self
            .conversations
            .values_mut()
            .filter(|held| held.replica == replica)
        {
            held.client = Client::Over;
        }
    }

    pub fn executor_prepares(&mut self, number: u64) {
        let held = self.conversations.get_mut(&number).unwrap();
        let executor = &mut self.executors[held.executor];
        let job: JobId = format!("job_{}", held.call).parse().unwrap();
        match executor.capacity.admit(&job) {
            Err(rejection) => {
                held.server = Server::Over;
                self.tell_replica(number, Body::Rejected(number, rejection.reason));
            }
            Ok(slot) => {
                executor.conversations.insert(number);
                held.server = Server::Preparing(slot);
                held.epoch = executor.epoch;
                let takes = match self.kernel.index(20) {
                    0 => self.kernel.between(200 * MS, 3 * SECOND),
                    _ => self.kernel.between(MS, 10 * MS),
                };
                self.timer(number, takes, Timer::Prepared);
            }
        }
    }

    pub fn executor_starts(&mut self, number: u64) {
        let held = self.conversations.get_mut(&number).unwrap();
        if let Server::Ready(slot) = &held.server {
            slot.mark_started();
            let (call, executor, epoch) = (held.call, held.executor, held.epoch);
            held.server = match std::mem::replace(&mut held.server, Server::Over) {
                Server::Ready(slot) => Server::Running(slot),
                other => other,
            };
            self.truth.starts(call, executor, epoch);
            let runs = self.calls[call].runs.min(self.calls[call].timeout);
            self.timer(number, runs, Timer::Ends);
        }
    }

    pub fn executor_cancels(&mut self, number: u64) {
        let held = self.conversations.get_mut(&number).unwrap();
        match std::mem::replace(&mut held.server, Server::Over) {
            Server::Preparing(_) | Server::Ready(_) => self.server_ends(number, Body::Finished(number, true)),
            Server::Running(slot) => {
                held.server = Server::Ending(slot);
                let takes = self.kernel.between(MS, 80 * MS);
                self.timer(number, takes, Timer::Killed);
            }
            other => held.server = other,
        }
    }

    /// The connection broke at the executor's end: nobody is there for whom to run.
    pub fn servers_lose(&mut self, connection: u64) {
        for number in self.on_connection.get(&connection).cloned().unwrap_or_default() {
            self.executor_cancels(number);
        }
    }

    /// The executor died, and what ran there with it.
    pub fn server_is_gone(&mut self, number: u64) {
        let held = self.conversations.get_mut(&number).unwrap();
        if let Server::Running(_) | Server::Ending(_) = std::mem::replace(&mut held.server, Server::Over) {
            self.truth.ends(held.call);
        }
    }

    /// Its slot is free already.
    fn server_ends(&mut self, number: u64, last: Body) {
        let executor = self.conversations[&number].executor;
        self.executors[executor].conversations.remove(&number);
        self.tell_replica(number, last);
    }

    /// Whose clock it is.
    pub fn place_of_timer(&self, number: u64, timer: Timer) -> Option<Place> {
        let held = self.conversations.get(&number)?;
        Some(match timer {
            Timer::PrepareDeadline | Timer::FinishDeadline | Timer::CancelDeadline => {
                Place::Replica(held.replica)
            }
            Timer::Prepared | Timer::NoStart | Timer::Ends | Timer::Killed => Place::Executor(held.executor),
        })
    }

    pub fn conversation_timer(&mut self, number: u64, timer: Timer) {
        let Some(held) = self.conversations.get_mut(&number) else {
            return;
        };
        match (timer, held.client) {
            (Timer::PrepareDeadline, Client::Preparing)
            | (Timer::FinishDeadline, Client::Running)
            | (Timer::CancelDeadline, Client::Cancelling) => {
                self.tell_executor(number, Body::Drop(number));
                self.client_loses(number);
            }
            (Timer::PrepareDeadline | Timer::FinishDeadline | Timer::CancelDeadline, _) => {}
            _ => self.server_timer(number, timer),
        }
    }

    fn server_timer(&mut self, number: u64, timer: Timer) {
        let held = self.conversations.get_mut(&number).unwrap();
        let call = held.call;
        match (timer, std::mem::replace(&mut held.server, Server::Over)) {
            (Timer::Prepared, Server::Preparing(slot)) => {
                if self.kernel.chance(ENGINE_FAILS) {
                    drop(slot);
                    self.server_ends(number, Body::Rejected(number, RejectReason::Engine));
                } else {
                    held.server = Server::Ready(slot);
                    self.tell_replica(number, Body::Ready(number));
                    self.timer(number, START_DEADLINE, Timer::NoStart);
                }
            }
            (Timer::NoStart, Server::Ready(slot)) => {
                drop(slot);
                self.server_ends(number, Body::Rejected(number, RejectReason::NoCapacity));
            }
            (Timer::Ends, Server::Running(slot)) | (Timer::Killed, Server::Ending(slot)) => {
                self.truth.ends(call);
                drop(slot);
                self.server_ends(number, Body::Finished(number, matches!(timer, Timer::Killed)));
            }
            (_, server) => held.server = server,
        }
    }
}
