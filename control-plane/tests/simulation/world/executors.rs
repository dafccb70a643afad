//! An executor: its slots are the product's; its engine, its heartbeats and its coming back are modelled. What runs there
//! dies with it, as with its machine.

use std::collections::BTreeSet;

use dynamic_mcp_control_plane::scheduler::fleet::HEARTBEAT_INTERVAL;
use dynamic_mcp_executor::capacity::Capacity;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::{ImageStatus, NodeStatus, Runtime, RuntimeStatus};

use super::wires::{Body, Kind};
use super::{Event, World};
use crate::kernel::{MS, Micros, SECOND, micros};
use crate::network::Place;

pub const IMAGE: &str = "node:lts-slim";
const LOOK: Micros = 100 * MS;

pub struct Executor {
    pub id: ExecutorId,
    pub epoch: u64,
    pub is_up: bool,
    pub capacity: Capacity,
    slots: u32,
    /// By replica: the connection on which it has joined.
    joined: Vec<Option<u64>>,
    /// Those that hold a slot.
    pub conversations: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Timer {
    Join(usize),
    Heartbeat(usize, u64),
    /// It drains, and leaves when nothing runs.
    Leave,
}

impl Executor {
    pub fn new(number: usize, slots: u32, replicas: usize) -> Self {
        Self {
            id: format!("exe_{number:06}").parse().unwrap(),
            epoch: 0,
            is_up: false,
            capacity: Capacity::new(slots),
            slots,
            joined: vec![None; replicas],
            conversations: BTreeSet::new(),
        }
    }

    fn status(&self) -> NodeStatus {
        let running_jobs = self.capacity.running_jobs();
        NodeStatus {
            slots: self.slots,
            running: u32::try_from(running_jobs.len()).unwrap(),
            draining: self.capacity.is_draining(),
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Node,
                unavailable: None,
                sandbox: "runc".to_owned(),
            }],
            images: vec![ImageStatus {
                name: IMAGE.to_owned(),
                present: true,
                warm: 0,
            }],
            running_jobs,
            ..NodeStatus::default()
        }
    }
}

impl World {
    /// Starts, or starts again: another epoch, and nothing remembered.
    pub fn executor_begins(&mut self, number: usize) {
        let executor = &mut self.executors[number];
        executor.epoch += 1;
        executor.is_up = true;
        executor.capacity = Capacity::new(executor.slots);
        executor.joined.fill(None);
        for replica in 0..self.replicas.len() {
            let soon = self.kernel.between(MS, 50 * MS);
            self.executor_later(number, soon, Timer::Join(replica));
        }
    }

    pub fn executor_dies(&mut self, number: usize, says_so: bool) {
        if !self.executors[number].is_up {
            return;
        }
        self.executors[number].is_up = false;
        self.process_dies(Place::Executor(number), says_so);
        for conversation in std::mem::take(&mut self.executors[number].conversations) {
            self.server_is_gone(conversation);
        }
    }

    pub fn executor_drains(&mut self, number: usize) {
        if self.executors[number].is_up && self.executors[number].capacity.drain() {
            for replica in 0..self.replicas.len() {
                self.beat(number, replica);
            }
            self.executor_later(number, LOOK, Timer::Leave);
        }
    }

    fn executor_later(&mut self, executor: usize, delay: Micros, what: Timer) {
        let epoch = self.executors[executor].epoch;
        self.kernel.after(
            delay,
            Event::Executor {
                executor,
                epoch,
                what,
            },
        );
    }

    pub fn executor_timer(&mut self, number: usize, epoch: u64, what: Timer) {
        let executor = &self.executors[number];
        if !executor.is_up || executor.epoch != epoch {
            return;
        }
        match what {
            Timer::Join(replica) if executor.joined[replica].is_none() && !self.is_over() => {
                let connection = self.dial(Kind::Join, replica, number);
                self.executors[number].joined[replica] = Some(connection);
                self.beat(number, replica);
                let every = micros(HEARTBEAT_INTERVAL);
                self.executor_later(number, every, Timer::Heartbeat(replica, connection));
            }
            Timer::Heartbeat(replica, on) if executor.joined[replica] == Some(on) && !self.is_over() => {
                self.beat(number, replica);
                self.executor_later(number, micros(HEARTBEAT_INTERVAL), what);
            }
            Timer::Leave if executor.conversations.is_empty() => self.executor_dies(number, true),
            Timer::Leave => self.executor_later(number, LOOK, Timer::Leave),
            Timer::Join(_) | Timer::Heartbeat(..) => {}
        }
    }

    fn beat(&mut self, number: usize, replica: usize) {
        let executor = &self.executors[number];
        if let Some(connection) = executor.joined[replica] {
            let beat = Body::Heartbeat {
                epoch: executor.epoch,
                status: Box::new(executor.status()),
            };
            self.send(Place::Executor(number), Place::Replica(replica), connection, beat);
        }
    }

    /// The stream broke: it comes back after a pause.
    pub fn executor_is_not_joined(&mut self, number: usize, replica: usize, connection: u64) {
        if self.executors[number].joined[replica] == Some(connection) {
            self.executors[number].joined[replica] = None;
            let pause = self.kernel.between(200 * MS, 2 * SECOND);
            self.executor_later(number, pause, Timer::Join(replica));
        }
    }
}
