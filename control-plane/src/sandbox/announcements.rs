//! What executors say that they have goes into the directory: so an emptied one fills again, and what has ended leaves it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::{ExecutorId, SandboxId};
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Announced, Home, Sandboxes, Session};
use crate::scheduler::fleet::{NodeState, NodeView};

const EVERY: Duration = Duration::from_secs(1);
/// How often what has not changed is said again; well within the time for which it counts.
const AGAIN_AFTER: Duration = Duration::from_secs(8);
/// Sessions that are told to the directory at once.
const AT_ONCE: usize = 16;
/// After what time without a word of it nothing is known of an executor any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Those of the executors that have joined this replica.
pub struct Announcements {
    sandboxes: Arc<Sandboxes>,
    known: HashMap<ExecutorId, Node>,
    /// Of the directory, as far as it could be told.
    generation: u64,
}

struct Node {
    epoch: u64,
    heard_at: Instant,
    sessions: HashMap<SandboxId, Told>,
}

struct Told {
    session: Session,
    at: Instant,
    /// Of the directory that was told: another one does not know it.
    generation: u64,
}

impl Announcements {
    pub fn new(sandboxes: Arc<Sandboxes>) -> Self {
        Self {
            sandboxes,
            known: HashMap::new(),
            generation: 0,
        }
    }

    pub async fn keep(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.pass_on().await,
            }
        }
    }

    /// One look at what the executors say.
    pub async fn pass_on(&mut self) {
        if let Ok(generation) = self.sandboxes.directory().generation().await {
            self.generation = generation;
        }
        for node in self.sandboxes.fleet().nodes() {
            self.sandboxes.see(&Home {
                executor: node.info.id.clone(),
                epoch: node.info.epoch,
            });
            let fresh = matches!(
                node.state,
                NodeState::Ready | NodeState::Draining | NodeState::NotReady(_)
            );
            if (node.joined_here || node.in_this_process) && fresh {
                self.hear(&node).await;
            }
        }
        self.known
            .retain(|_, node| node.heard_at.elapsed() < FORGOTTEN_AFTER);
    }

    async fn hear(&mut self, node: &NodeView) {
        let home = Home {
            executor: node.info.id.clone(),
            epoch: node.info.epoch,
        };
        let announced: HashMap<_, _> = node
            .status
            .sandboxes
            .iter()
            .map(|session| (session.id.clone(), Session::announced(session, home.clone())))
            .collect();
        let known = self.known.entry(home.executor.clone()).or_insert_with(|| Node {
            epoch: home.epoch,
            heard_at: Instant::now(),
            sessions: HashMap::new(),
        });
        if known.epoch > home.epoch {
            return;
        }
        known.epoch = home.epoch;
        known.heard_at = Instant::now();
        let ended: Vec<_> = known
            .sessions
            .values()
            .filter(|told| told.session.home != home || !announced.contains_key(&told.session.id))
            .map(|told| told.session.clone())
            .collect();
        // Whatever an executor says, it takes no more of the directory than it offers.
        let slots = node.status.sandbox_slots as usize;
        let mut new_ones = slots.saturating_sub(known.sessions.len() - ended.len());
        let to_tell: Vec<_> = announced
            .into_values()
            .filter(|session| match known.sessions.get(&session.id) {
                Some(told) => {
                    let holds = told.generation == self.generation && told.at.elapsed() < AGAIN_AFTER;
                    told.session != *session || !holds
                }
                None => {
                    let fits = new_ones > 0;
                    new_ones = new_ones.saturating_sub(1);
                    fits
                }
            })
            .collect();
        self.end(ended).await;
        self.announce(&home, to_tell).await;
    }

    async fn end(&mut self, ended: Vec<Session>) {
        let sandboxes = &self.sandboxes;
        let results = futures::stream::iter(ended)
            .map(|session| async move {
                sandboxes.forget(&session);
                let ended = sandboxes.directory().end(&session).await;
                (session, ended.is_ok())
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (session, ended) in results {
            if let Some(node) = self.known.get_mut(&session.home.executor).filter(|_| ended) {
                node.sessions.remove(&session.id);
            }
        }
    }

    /// What could not be told is told again with the next look.
    async fn announce(&mut self, home: &Home, sessions: Vec<Session>) {
        let sandboxes = &self.sandboxes;
        let results = futures::stream::iter(sessions)
            .map(|session| async move {
                let announced = sandboxes.directory().announce(&session).await;
                (session, announced)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let Some(node) = self.known.get_mut(&home.executor) else {
            return;
        };
        let generation = self.generation;
        let told = |session| Told {
            session,
            at: Instant::now(),
            generation,
        };
        for (session, announced) in results {
            match announced {
                Ok(Announced::Known) => {
                    node.sessions.insert(session.id.clone(), told(session));
                }
                Ok(Announced::Unwanted) => {
                    tracing::info!(sandbox.id = %session.id, executor.id = %home.executor, "a sandbox session that nobody has is stopped");
                    // Said once; if it is still there after a while, it is looked at again.
                    self.sandboxes.stop_unwanted(session.clone());
                    node.sessions.insert(session.id.clone(), told(session));
                }
                Err(_) => {}
            }
        }
    }
}
