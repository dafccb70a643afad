//! What executors say that they have goes into the directory: stands for `sandbox::announcements`.

use std::collections::BTreeMap;

use dynamic_mcp_control_plane::scheduler::fleet::NodeState;

use super::operations::{Operation, Timer};
use super::store::Script;
use super::{Deployment, Home, Session};
use crate::kernel::{Micros, SECOND};

const EVERY: Micros = SECOND;
const AGAIN_AFTER: Micros = 8 * SECOND;

/// Of one executor: what the directory was told of it, and when.
pub struct Known {
    epoch: u64,
    told: BTreeMap<Session, Micros>,
}

impl Deployment {
    pub fn pass_on(&mut self, replica: usize) {
        if self.is_over() {
            return;
        }
        for node in self.replicas[replica].fleet.nodes() {
            if node.joined_here && node.state != NodeState::Stale {
                let executor = node.info.id.as_str()["exe_".len()..].parse().unwrap();
                let number = |id: &str| id["mcp-sbx-".len()..].parse().unwrap();
                let sessions = node
                    .status
                    .sandboxes
                    .iter()
                    .map(|session| number(session.id.as_str()));
                self.hear(
                    replica,
                    Home {
                        executor,
                        epoch: node.info.epoch,
                    },
                    &sessions.collect::<Vec<_>>(),
                );
            }
        }
        self.replica_later(replica, EVERY, Timer::PassOn);
    }

    fn hear(&mut self, replica: usize, home: Home, announced: &[Session]) {
        let now = self.kernel.now();
        let new = || Known {
            epoch: home.epoch,
            told: BTreeMap::new(),
        };
        let known = self.replicas[replica]
            .known
            .entry(home.executor)
            .or_insert_with(new);
        if known.epoch > home.epoch {
            return;
        }
        known.epoch = home.epoch;
        let ended: Vec<_> = known
            .told
            .keys()
            .filter(|session| self.sessions[**session].1 != home || !announced.contains(session))
            .copied()
            .collect();
        let due = |session: &&Session| known.told.get(session).is_none_or(|&at| now - at >= AGAIN_AFTER);
        let to_tell: Vec<_> = announced.iter().filter(due).copied().collect();
        for session in ended {
            self.ask(replica, Script::End, session, Operation::Announced { session });
        }
        for session in to_tell {
            self.ask(
                replica,
                Script::Announce,
                session,
                Operation::Announce { session },
            );
        }
    }

    pub fn is_announced(&mut self, replica: usize, session: Session, is_wanted: bool) {
        let (executor, now) = (self.sessions[session].1.executor, self.kernel.now());
        if let Some(known) = self.replicas[replica].known.get_mut(&executor) {
            known.told.insert(session, now);
        }
        if !is_wanted {
            self.stop_unwanted(replica, session, 0);
        }
    }

    pub fn is_ended(&mut self, replica: usize, session: Session) {
        let executor = self.sessions[session].1.executor;
        if let Some(known) = self.replicas[replica].known.get_mut(&executor) {
            known.told.remove(&session);
        }
    }
}
