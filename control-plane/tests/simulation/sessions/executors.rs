//! An executor's sessions: containers that die with it, and a check of who is meant.

use std::collections::BTreeMap;

use dynamic_mcp_shared::ids::ExecutorId;

use super::{Deployment, Event, Home, Said, Session};
use crate::kernel::{MS, SECOND};
use crate::network::Place;

pub struct Executor {
    pub id: ExecutorId,
    pub epoch: u64,
    pub is_up: bool,
    pub sessions: BTreeMap<Session, ()>,
}

impl Executor {
    pub fn new(number: usize) -> Self {
        Self {
            id: format!("exe_{number:06}").parse().unwrap(),
            epoch: 0,
            is_up: false,
            sessions: BTreeMap::new(),
        }
    }
}

impl Deployment {
    pub fn executor_begins(&mut self, number: usize) {
        let executor = &mut self.executors[number];
        executor.is_up = true;
        executor.epoch += 1;
        let epoch = executor.epoch;
        let soon = self.kernel.between(MS, 300 * MS);
        self.kernel.after(
            soon,
            Event::Heartbeat {
                executor: number,
                epoch,
            },
        );
    }

    pub fn executor_dies(&mut self, number: usize) {
        self.executors[number].is_up = false;
        for session in std::mem::take(&mut self.executors[number].sessions).into_keys() {
            self.truth.ends(session);
        }
    }

    pub fn executor_beats(&mut self, number: usize, epoch: u64) {
        let executor = &self.executors[number];
        if !executor.is_up || executor.epoch != epoch || self.is_over() {
            return;
        }
        let sessions: Vec<_> = executor.sessions.keys().copied().collect();
        for replica in 0..self.replicas.len() {
            let beat = Said::Heartbeat {
                epoch,
                sessions: sessions.clone(),
            };
            self.say(Place::Executor(number), Place::Replica(replica), beat);
        }
        self.kernel.after(
            SECOND,
            Event::Heartbeat {
                executor: number,
                epoch,
            },
        );
    }

    /// A container takes a while; everything else is there or is not.
    pub fn executor_hears(&mut self, number: usize, from: Place, said: Said) {
        let executor = &mut self.executors[number];
        if !executor.is_up {
            return;
        }
        let mine = |epoch: u64| epoch == executor.epoch;
        let home = Home {
            executor: number,
            epoch: executor.epoch,
        };
        let (life, operation, done) = match said {
            Said::Open {
                life,
                number,
                session,
                epoch,
            } => {
                let fits = mine(epoch) && executor.sessions.len() < self.plan.slots as usize;
                let opens = fits && !executor.sessions.contains_key(&session) && !self.kernel.chance(5);
                if opens {
                    executor.sessions.insert(session, ());
                    self.truth.begins(session, home);
                }
                (life, number, opens)
            }
            Said::Use {
                life,
                number,
                session,
                epoch,
            } => {
                let is_there = mine(epoch) && executor.sessions.contains_key(&session);
                if is_there {
                    self.truth.is_served(session, home);
                }
                (life, number, is_there)
            }
            Said::Stop {
                life,
                number,
                session,
                epoch,
            } => {
                let stops = mine(epoch) && executor.sessions.remove(&session).is_some();
                if stops {
                    self.truth.ends(session);
                }
                (life, number, stops)
            }
            _ => return,
        };
        self.say(
            Place::Executor(number),
            from,
            Said::Done {
                life,
                number: operation,
                done,
            },
        );
    }
}
