//! What goes wrong, drawn from the seed: each thing begins, lasts a while and is mended.

use super::wires::Silence;
use super::{Event, World, guard};
use crate::kernel::{MS, Micros, SECOND};
use crate::network::Place;

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Cut(Place, Place),
    Heal(Place, Place),
    ReplicaDies { replica: usize, says_so: bool },
    ReplicaBegins(usize),
    Freeze(usize),
    Thaw(usize),
    ExecutorDies { executor: usize, says_so: bool },
    ExecutorDrains(usize),
    ExecutorBegins(usize),
    RedisDies,
    RedisBegins,
    RedisIsCopied,
    RedisFailsOver,
}

#[derive(Default)]
pub struct Faults {
    freezes: u64,
    /// What happened to replicas that were held still, in its order.
    deferred: Vec<(usize, Event)>,
}

impl World {
    pub fn plan_faults(&mut self) {
        for fault in 0..self.plan.faults + self.plan.executor_faults {
            let at = self.kernel.between(2 * SECOND, self.plan.duration);
            let lasts = match self.kernel.index(3) {
                0 => self.kernel.between(10 * MS, SECOND),
                _ => self.kernel.between(SECOND, self.plan.longest_fault),
            };
            if fault < self.plan.faults {
                self.plan_fault(at, at + lasts);
            } else {
                self.plan_executor_fault(at, at + lasts);
            }
        }
    }

    fn plan_executor_fault(&mut self, at: Micros, until: Micros) {
        let executor = self.kernel.index(self.plan.executors);
        let says_so = self.kernel.chance(50);
        match self.kernel.index(4) {
            0 => {
                self.plan_pair(
                    at,
                    Fault::ExecutorDies { executor, says_so },
                    until,
                    Fault::ExecutorBegins(executor),
                );
            }
            1 => {
                self.plan_pair(
                    at,
                    Fault::ExecutorDrains(executor),
                    until,
                    Fault::ExecutorBegins(executor),
                );
            }
            2 => {
                let replica = self.kernel.index(self.plan.replicas);
                self.plan_cut(at, until, Place::Replica(replica), Place::Executor(executor));
            }
            _ => {
                for replica in 0..self.plan.replicas {
                    self.plan_cut(at, until, Place::Replica(replica), Place::Executor(executor));
                }
            }
        }
    }

    fn plan_fault(&mut self, at: Micros, until: Micros) {
        let replica = self.kernel.index(self.plan.replicas);
        let says_so = self.kernel.chance(50);
        let all = 0..self.plan.executors;
        let kinds = if self.plan.redis_forgets { 12 } else { 10 };
        match self.kernel.index(kinds) {
            0..=1 => self.plan_pair(
                at,
                Fault::ReplicaDies { replica, says_so },
                until,
                Fault::ReplicaBegins(replica),
            ),
            2..=3 => self.plan_pair(at, Fault::Freeze(replica), until, Fault::Thaw(replica)),
            4 => all.for_each(|executor| {
                self.plan_cut(at, until, Place::Replica(replica), Place::Executor(executor))
            }),
            5..=7 => self.plan_cut(at, until, Place::Replica(replica), Place::Redis),
            // From all.
            8..=9 => {
                self.plan_cut(at, until, Place::Replica(replica), Place::Redis);
                all.for_each(|executor| {
                    self.plan_cut(at, until, Place::Replica(replica), Place::Executor(executor))
                });
            }
            10 => self.plan_pair(
                at,
                Fault::RedisDies,
                until.min(at + 3 * SECOND),
                Fault::RedisBegins,
            ),
            _ => {
                let copied = at - self.kernel.between(MS, SECOND);
                self.plan_pair(copied, Fault::RedisIsCopied, at, Fault::RedisFailsOver);
            }
        }
    }

    fn plan_cut(&mut self, at: Micros, until: Micros, one: Place, other: Place) {
        self.plan_pair(at, Fault::Cut(one, other), until, Fault::Heal(one, other));
    }

    fn plan_pair(&mut self, at: Micros, fault: Fault, until: Micros, mended: Fault) {
        self.kernel.at(at, Event::Fault(fault));
        self.kernel.at(until, Event::Fault(mended));
    }

    pub fn fault(&mut self, fault: Fault) {
        self.truth.note(|| format!("{fault:?}"));
        match fault {
            Fault::Cut(one, Place::Redis) => {
                self.store_network.cut(one, Place::Redis);
            }
            Fault::Heal(one, Place::Redis) => {
                self.store_network
                    .heal(one, Place::Redis, &mut self.kernel, |_, to, words| {
                        Event::Said(to, words)
                    });
            }
            Fault::Cut(one, other) => {
                let cut = self.network.cut(one, other);
                if let (Place::Replica(replica), Place::Executor(executor)) = (one, other) {
                    self.falls_silent(replica, executor, &[one, other], Silence::Cut(cut));
                }
            }
            Fault::Heal(one, other) => self.network.heal(one, other, &mut self.kernel, Event::Arrives),
            Fault::ReplicaDies { replica, says_so } => {
                self.thaw(replica);
                self.replica_dies(replica, says_so);
            }
            Fault::ReplicaBegins(replica) => self.replica_begins(replica),
            Fault::Freeze(replica) => self.freeze(replica),
            Fault::Thaw(replica) => self.thaw(replica),
            Fault::ExecutorDies { executor, says_so } => self.executor_dies(executor, says_so),
            Fault::ExecutorDrains(executor) => self.executor_drains(executor),
            Fault::ExecutorBegins(executor) => {
                if !self.executors[executor].is_up {
                    self.executor_begins(executor);
                }
            }
            Fault::RedisDies => self.redis_dies(),
            Fault::RedisBegins => self.store.is_up = true,
            Fault::RedisIsCopied => self.store.copy = self.store.keyspace.clone(),
            Fault::RedisFailsOver => self.redis_fails_over(),
        }
    }

    fn freeze(&mut self, replica: usize) {
        if !self.replicas[replica].is_up || self.replicas[replica].frozen.is_some() {
            return;
        }
        self.faults.freezes += 1;
        let number = self.faults.freezes;
        self.replicas[replica].frozen = Some(number);
        for executor in 0..self.plan.executors {
            self.falls_silent(
                replica,
                executor,
                &[Place::Executor(executor)],
                Silence::Frozen(number),
            );
        }
    }

    fn thaw(&mut self, replica: usize) {
        self.replicas[replica].frozen = None;
        let all = std::mem::take(&mut self.faults.deferred);
        let (thawed, still) = all.into_iter().partition(|(of, _)| *of == replica);
        self.faults.deferred = still;
        for (_, event) in thawed {
            self.kernel.after(0, event);
        }
    }

    /// Accepted by its machine, and not yet by the replica.
    pub fn defer_acquire(&mut self, call: usize) {
        let replica = self.calls[call].replica;
        let (life, event) = (self.replicas[replica].life, guard::Event::Acquire(call));
        self.faults
            .deferred
            .push((replica, Event::Replica { replica, life, event }));
    }

    /// What happens to a process that is held still happens when it goes on.
    pub fn unless_frozen(&mut self, event: Event) -> Option<Event> {
        let place = match &event {
            Event::Arrives(_, to, _) | Event::Said(to, _) => Some(*to),
            Event::Silent { side, .. } => Some(*side),
            Event::Call(call, _) => self.place_of_call(*call),
            Event::Conversation(conversation, timer) => self.place_of_timer(*conversation, *timer),
            Event::Replica { replica, .. } => Some(Place::Replica(*replica)),
            Event::Executor { .. } | Event::Fault(_) => None,
        };
        match place {
            Some(Place::Replica(replica)) if self.replicas[replica].frozen.is_some() => {
                self.faults.deferred.push((replica, event));
                None
            }
            _ => Some(event),
        }
    }
}
