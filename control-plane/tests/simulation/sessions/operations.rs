//! What a replica does with sessions: stands for `sandbox::sandboxes`. The table of the fleet is the product's.

use std::collections::BTreeMap;
use std::sync::Arc;

use dynamic_mcp_control_plane::scheduler::fleet::{
    ExecutorChannel, Fleet, Membership, NodeInfo, NodeState, NotThere, StatusSource,
};
use dynamic_mcp_shared::job::{ImageStatus, NodeStatus, Runtime, RuntimeStatus, SandboxSession};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::limits::TimeoutMs;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use super::announcements::Known;
use super::store::{Asked, Script};
use super::{Deployment, Event, Home, Planted, Said, Session};
use crate::kernel::{MS, Micros, SECOND};
use crate::network::Place;

const IMAGE: &str = "node:lts-slim";
const MAX_ATTEMPTS: usize = 3;
const STORE_DEADLINE: Micros = 500 * MS;
const OPEN_DEADLINE: Micros = 30 * SECOND;
const CALL_DEADLINE: Micros = 5 * SECOND;
const STOP_ATTEMPTS: u32 = 5;
const STOP_AGAIN_AFTER: Micros = 2 * SECOND;

pub struct Replica {
    pub is_up: bool,
    pub life: u32,
    pub fleet: Arc<Fleet>,
    members: BTreeMap<usize, (u64, Membership)>,
    pub known: BTreeMap<usize, Known>,
    /// Never used.
    channel: ExecutorChannel,
}

impl Replica {
    pub fn new(seed: u64) -> Self {
        let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        Self {
            is_up: true,
            life: 1,
            fleet: Arc::new(Fleet::seeded(seed)),
            members: BTreeMap::new(),
            known: BTreeMap::new(),
            channel: InterceptedService::new(channel, JoinToken::random().attach()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Timer {
    /// What executors say goes into the directory.
    PassOn,
    Deadline(u64),
    StopAgain(Session, u32),
}

/// What waits for an answer, of Redis or of an executor.
#[derive(Debug, Clone)]
pub enum Operation {
    Claim {
        session: Session,
        tried: Vec<usize>,
    },
    Open {
        session: Session,
        tried: Vec<usize>,
    },
    Settle {
        session: Session,
    },
    /// By its client, to use it or to stop it.
    Find {
        session: Session,
        stops: bool,
        asked_at: Micros,
    },
    Use {
        session: Session,
        asked_at: Micros,
    },
    /// Because it is lost.
    End {
        session: Session,
        tells: bool,
    },
    EndOfStop {
        session: Session,
    },
    Stop,
    StopUnwanted {
        session: Session,
        attempt: u32,
    },
    Announce {
        session: Session,
    },
    Announced {
        session: Session,
    },
}

impl Deployment {
    pub fn is_alive(&self, replica: usize, life: u32) -> bool {
        self.replicas[replica].is_up && self.replicas[replica].life == life
    }

    pub fn replica_later(&mut self, replica: usize, delay: Micros, what: Timer) {
        let life = self.replicas[replica].life;
        self.kernel.after(delay, Event::Replica { replica, life, what });
    }

    pub fn replica_dies(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.is_up = false;
        replica.members.clear();
        replica.known.clear();
    }

    pub fn replica_begins(&mut self, number: usize) {
        if !self.replicas[number].is_up {
            let life = self.replicas[number].life + 1;
            self.replicas[number] = Replica {
                life,
                ..Replica::new(self.kernel.draw())
            };
            self.replica_later(number, SECOND, Timer::PassOn);
        }
    }

    pub fn replica_timer(&mut self, replica: usize, what: Timer) {
        match what {
            Timer::PassOn => self.pass_on(replica),
            Timer::Deadline(number) => match self.operations.get(&number) {
                Some(Operation::Open { .. } | Operation::Use { .. } | Operation::Stop)
                | Some(Operation::StopUnwanted { .. }) => self.is_done(replica, number, None),
                Some(_) => self.is_answered(replica, number, None),
                None => {}
            },
            Timer::StopAgain(session, attempt) => self.stop_unwanted(replica, session, attempt),
        }
    }

    /// A stream of heartbeats, of which the first joins.
    pub fn heartbeat(&mut self, number: usize, home: Home, sessions: &[Session]) {
        let status = self.status(sessions);
        let executor = self.executors[home.executor].id.clone();
        let replica = &mut self.replicas[number];
        if let Some((epoch, membership)) = replica.members.get(&home.executor)
            && *epoch == home.epoch
        {
            return membership.heard(status);
        }
        let info = NodeInfo {
            id: executor,
            epoch: home.epoch,
            version: String::new(),
            address: String::new(),
        };
        if let Ok(joined) = replica
            .fleet
            .join(info, replica.channel.clone(), StatusSource::Reported(status))
        {
            replica.members.insert(home.executor, (home.epoch, joined));
        }
    }

    fn status(&self, sessions: &[Session]) -> NodeStatus {
        let sandboxes = sessions.iter().map(|&session| SandboxSession {
            id: format!("mcp-sbx-{session}").parse().unwrap(),
            tenant: format!("t{}", self.sessions[session].0).parse().unwrap(),
            owner: String::new(),
            image: IMAGE.to_owned(),
            timeout: TimeoutMs::DEFAULT,
            created_ms: 0,
            last_used_ms: 0,
        });
        NodeStatus {
            slots: 1,
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
            sandbox_slots: self.plan.slots,
            sandboxes: sandboxes.collect(),
            ..NodeStatus::default()
        }
    }

    /// Through any replica that is up.
    pub fn client_does_something(&mut self) {
        let up: Vec<_> = (0..self.replicas.len())
            .filter(|&replica| self.replicas[replica].is_up)
            .collect();
        if up.is_empty() {
            return;
        }
        let replica = up[self.kernel.index(up.len())];
        // A client knows only what it was given.
        let given = self.truth.handed();
        if given.is_empty() || self.kernel.chance(30) {
            let tenant = self.kernel.index(self.plan.tenants);
            return self.open(replica, tenant, Vec::new());
        }
        let session = given[self.kernel.index(given.len())];
        let stops = self.kernel.chance(20);
        let asked_at = self.kernel.now();
        self.ask(
            replica,
            Script::Find,
            session,
            Operation::Find {
                session,
                stops,
                asked_at,
            },
        );
    }

    fn open(&mut self, replica: usize, tenant: usize, tried: Vec<usize>) {
        let nodes = self.replicas[replica].fleet.nodes();
        let fits = nodes.iter().filter(|node| {
            let has_room = node.status.sandboxes.len() < node.status.sandbox_slots as usize;
            node.state == NodeState::Ready && has_room
        });
        let mut open: Vec<_> = fits
            .map(|node| Home {
                executor: number_of(node.info.id.as_str()),
                epoch: node.info.epoch,
            })
            .filter(|home| !tried.contains(&home.executor))
            .collect();
        if open.is_empty() || tried.len() >= MAX_ATTEMPTS {
            return self.truth.is_refused("no place");
        }
        let home = open.swap_remove(self.kernel.index(open.len()));
        let again = match tried.last() {
            Some(_) if self.plan.planted == Some(Planted::SameNameElsewhere) => {
                self.sessions.len().checked_sub(1)
            }
            _ => None,
        };
        let session = again.unwrap_or(self.sessions.len());
        match again {
            Some(again) => self.sessions[again].1 = home,
            None => self.sessions.push((tenant, home)),
        }
        let tried = [tried, vec![home.executor]].concat();
        self.ask(
            replica,
            Script::Claim,
            session,
            Operation::Claim { session, tried },
        );
    }

    pub fn ask(&mut self, replica: usize, script: Script, session: Session, operation: Operation) {
        if script == Script::End {
            self.truth.is_leaving(session);
        }
        let number = self.waits_for(replica, operation, STORE_DEADLINE);
        let (tenant, home) = self.sessions[session];
        let home = format!("exe_{:06}@{}", home.executor, home.epoch);
        let most = [self.plan.in_all, self.plan.of_tenant];
        let asked = Asked {
            script,
            session,
            tenant,
            home,
            most,
        };
        let life = self.replicas[replica].life;
        self.say(
            Place::Replica(replica),
            Place::Redis,
            Said::Ask {
                replica,
                life,
                number,
                asked,
            },
        );
    }

    fn waits_for(&mut self, replica: usize, operation: Operation, deadline: Micros) -> u64 {
        self.operation_count += 1;
        let number = self.operation_count;
        self.operations.insert(number, operation);
        self.replica_later(replica, deadline, Timer::Deadline(number));
        number
    }

    /// By Redis; `None`: not in time.
    pub fn is_answered(&mut self, replica: usize, number: u64, words: Option<&[String]>) {
        let Some(operation) = self.operations.remove(&number) else {
            return;
        };
        let first = words.map(|words| words[0].as_str());
        match (operation, first) {
            (Operation::Claim { session, tried }, Some("made")) => self.open_there(replica, session, tried),
            (Operation::Claim { .. }, Some(_)) => self.truth.is_refused("full"),
            // It may have been made: its place is free again when it expires.
            (Operation::Claim { .. }, None) => self.truth.is_refused("store lost"),
            (Operation::Settle { session }, Some("1")) => {
                let home = self.sessions[session].1;
                self.truth.is_handed(session, home);
            }
            (Operation::Settle { session }, _) => {
                self.truth.is_refused("not settled");
                self.abandon(replica, session);
            }
            (
                Operation::Find {
                    session,
                    stops,
                    asked_at,
                },
                Some("open"),
            ) => {
                if stops {
                    self.ask(replica, Script::End, session, Operation::EndOfStop { session });
                } else {
                    self.use_it(replica, session, asked_at);
                }
            }
            (Operation::EndOfStop { session }, answer) => self.stop_there(replica, session, answer.is_some()),
            (Operation::End { session, tells }, Some(_)) if tells => self.truth.is_over(session),
            (Operation::Announce { session }, Some(answer)) => {
                self.is_announced(replica, session, answer == "1")
            }
            (Operation::Announced { session }, Some(_)) => self.is_ended(replica, session),
            _ => {}
        }
    }

    fn open_there(&mut self, replica: usize, session: Session, tried: Vec<usize>) {
        let open = Operation::Open { session, tried };
        self.call(
            replica,
            session,
            open,
            OPEN_DEADLINE,
            |life, number, session, epoch| Said::Open {
                life,
                number,
                session,
                epoch,
            },
        );
    }

    fn use_it(&mut self, replica: usize, session: Session, asked_at: Micros) {
        let home = self.sessions[session].1;
        let fleet = &self.replicas[replica].fleet;
        match fleet.pinned(&self.executors[home.executor].id, home.epoch) {
            Ok(_reservation) => {
                let used = Operation::Use { session, asked_at };
                self.call(
                    replica,
                    session,
                    used,
                    CALL_DEADLINE,
                    |life, number, session, epoch| Said::Use {
                        life,
                        number,
                        session,
                        epoch,
                    },
                );
            }
            Err(NotThere::Stale { .. }) => self.truth.is_refused("unreachable"),
            // An older one than the session's has not noticed yet that it is gone.
            Err(NotThere::OtherEpoch { current, .. }) if current < home.epoch => {
                self.truth.is_refused("unreachable")
            }
            Err(NotThere::OtherEpoch { .. } | NotThere::Unknown(_)) => {
                self.ask(
                    replica,
                    Script::End,
                    session,
                    Operation::End { session, tells: true },
                );
            }
        }
    }

    fn stop_there(&mut self, replica: usize, session: Session, is_known: bool) {
        if is_known {
            self.truth.is_over(session);
        }
        self.call(
            replica,
            session,
            Operation::Stop,
            CALL_DEADLINE,
            |life, number, session, epoch| Said::Stop {
                life,
                number,
                session,
                epoch,
            },
        );
    }

    fn call(
        &mut self,
        replica: usize,
        session: Session,
        operation: Operation,
        deadline: Micros,
        said: fn(u32, u64, Session, u64) -> Said,
    ) {
        let number = self.waits_for(replica, operation, deadline);
        let home = self.sessions[session].1;
        let life = self.replicas[replica].life;
        let said = said(life, number, session, home.epoch);
        self.say(Place::Replica(replica), Place::Executor(home.executor), said);
    }

    /// By an executor; `None`: it is not clear.
    pub fn is_done(&mut self, replica: usize, number: u64, done: Option<bool>) {
        let Some(operation) = self.operations.remove(&number) else {
            return;
        };
        match (operation, done) {
            (Operation::Open { session, .. }, Some(true)) => {
                self.ask(replica, Script::Settle, session, Operation::Settle { session });
            }
            (Operation::Open { session, tried }, _) => {
                let tenant = self.sessions[session].0;
                self.abandon(replica, session);
                self.open(replica, tenant, tried);
            }
            (Operation::Use { session, asked_at }, Some(true)) => {
                self.truth.answers_its_client(session, asked_at)
            }
            (Operation::Use { session, .. }, Some(false)) => {
                self.ask(
                    replica,
                    Script::End,
                    session,
                    Operation::End { session, tells: true },
                );
            }
            (Operation::StopUnwanted { session, attempt }, None) => {
                self.replica_later(replica, STOP_AGAIN_AFTER, Timer::StopAgain(session, attempt + 1));
            }
            _ => {}
        }
    }

    /// A claim that came to nothing.
    fn abandon(&mut self, replica: usize, session: Session) {
        self.ask(
            replica,
            Script::End,
            session,
            Operation::End {
                session,
                tells: false,
            },
        );
        self.stop_unwanted(replica, session, 0);
    }

    pub fn stop_unwanted(&mut self, replica: usize, session: Session, attempt: u32) {
        if attempt < STOP_ATTEMPTS {
            let stop = Operation::StopUnwanted { session, attempt };
            self.call(
                replica,
                session,
                stop,
                CALL_DEADLINE,
                |life, number, session, epoch| Said::Stop {
                    life,
                    number,
                    session,
                    epoch,
                },
            );
        }
    }
}

fn number_of(id: &str) -> usize {
    id["exe_".len()..].parse().unwrap()
}
