//! The directory of sandbox sessions: opened, used and stopped through any replica, announced by their executors, while
//! executors start anew, replicas die, wires are cut and Redis forgets.
//!
//! The scripts and the table of the fleet, with its fence of epochs, are the product's. What a replica does between them
//! stands for `sandbox::sandboxes` and `sandbox::announcements`; what an executor does with a session is modelled.

mod announcements;
mod executors;
mod operations;
mod store;
mod truth;

use std::collections::BTreeMap;

use crate::kernel::{Kernel, MS, Micros, SECOND};
use crate::network::{Network, Place};
use crate::truth::Violation;
use executors::Executor;
use operations::{Operation, Replica};
use store::{Asked, Store};
use truth::Truth;

/// By its number, under which it has its id.
pub type Session = usize;

/// One life of an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Home {
    pub executor: usize,
    pub epoch: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub replicas: usize,
    pub executors: usize,
    /// Sessions that each may have, that a tenant may have and that all may.
    pub slots: u32,
    pub of_tenant: usize,
    pub in_all: usize,
    pub tenants: usize,
    /// Things that clients do while they come.
    pub operations: usize,
    pub duration: Micros,
    pub faults: usize,
    pub redis_forgets: bool,
    pub planted: Option<Planted>,
    pub tells_story: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A session is opened elsewhere under the same name when it is not clear what became of it.
    SameNameElsewhere,
    /// Sessions are not counted.
    NoCount,
    /// What nobody waits for any more is not stopped.
    NothingIsUnwanted,
}

impl Plan {
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            replicas: 3,
            executors: 6,
            slots: 4,
            of_tenant: 6,
            in_all: 14,
            tenants: 3,
            operations: 300,
            duration: 40 * SECOND,
            faults: 16,
            redis_forgets: seed % 4 == 3,
            planted: None,
            tells_story: false,
        }
    }

    pub fn large(seed: u64) -> Self {
        Self {
            executors: 200,
            in_all: 600,
            of_tenant: 250,
            operations: 3_000,
            ..Self::small(seed)
        }
    }

    pub fn with(self, planted: Planted) -> Self {
        Self {
            planted: Some(planted),
            ..self
        }
    }
}

#[derive(Debug)]
pub enum Event {
    Arrives(Place, Place, Said),
    /// Of a replica's one life.
    Replica {
        replica: usize,
        life: u32,
        what: operations::Timer,
    },
    Heartbeat {
        executor: usize,
        epoch: u64,
    },
    /// The client does something.
    Client,
    Fault(Fault),
}

/// On the wires.
#[derive(Debug)]
pub enum Said {
    Ask {
        replica: usize,
        life: u32,
        number: u64,
        asked: Asked,
    },
    Answer {
        life: u32,
        number: u64,
        words: Vec<String>,
    },
    Heartbeat {
        epoch: u64,
        sessions: Vec<Session>,
    },
    Open {
        life: u32,
        number: u64,
        session: Session,
        epoch: u64,
    },
    Use {
        life: u32,
        number: u64,
        session: Session,
        epoch: u64,
    },
    Stop {
        life: u32,
        number: u64,
        session: Session,
        epoch: u64,
    },
    /// Whether it was done.
    Done {
        life: u32,
        number: u64,
        done: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Cut(Place, Place),
    Heal(Place, Place),
    ReplicaDies(usize),
    ReplicaBegins(usize),
    ExecutorDies(usize),
    ExecutorBegins(usize),
    RedisForgets,
}

pub struct Deployment {
    plan: Plan,
    kernel: Kernel<Event>,
    network: Network<Said>,
    store: Store,
    truth: Truth,
    replicas: Vec<Replica>,
    executors: Vec<Executor>,
    /// What each session is, by its number.
    sessions: Vec<(usize, Home)>,
    /// What replicas wait for.
    operations: BTreeMap<u64, Operation>,
    operation_count: u64,
}

/// After the last operation: longer than a claim that came to nothing counts, and what is announced.
const AFTERMATH: Micros = 150 * SECOND;

impl Deployment {
    /// Needs tokio's paused clock, which it moves along.
    pub async fn run(plan: Plan) -> Result<Self, Violation> {
        let mut deployment = Self::new(plan);
        let mut now = 0;
        while let Some(event) = deployment.kernel.next() {
            let then = deployment.kernel.now();
            tokio::time::advance(std::time::Duration::from_micros(then - now)).await;
            now = then;
            deployment.truth.now = now;
            deployment.handle(event);
            deployment.truth.holds()?;
        }
        deployment.check_end();
        deployment.truth.holds()?;
        Ok(deployment)
    }

    pub fn summary(&self) -> String {
        self.truth.summary()
    }

    fn new(plan: Plan) -> Self {
        let mut kernel = Kernel::new(plan.seed);
        let replicas = (0..plan.replicas).map(|_| Replica::new(kernel.draw())).collect();
        let mut deployment = Self {
            plan,
            kernel,
            network: Network::new(),
            store: Store::new(plan.planted),
            truth: Truth::new(&plan),
            replicas,
            executors: (0..plan.executors).map(Executor::new).collect(),
            sessions: Vec::new(),
            operations: BTreeMap::new(),
            operation_count: 0,
        };
        for executor in 0..plan.executors {
            deployment.executor_begins(executor);
        }
        for replica in 0..plan.replicas {
            deployment.replica_later(replica, SECOND, operations::Timer::PassOn);
        }
        for _ in 0..plan.operations {
            let at = deployment.kernel.between(2 * SECOND, plan.duration);
            deployment.kernel.at(at, Event::Client);
        }
        for _ in 0..plan.faults {
            deployment.plan_fault();
        }
        deployment
    }

    fn plan_fault(&mut self) {
        let at = self.kernel.between(3 * SECOND, self.plan.duration);
        let until = at + self.kernel.between(100 * MS, 10 * SECOND);
        let replica = self.kernel.index(self.plan.replicas);
        let executor = self.kernel.index(self.plan.executors);
        let (of_replica, of_executor) = (Place::Replica(replica), Place::Executor(executor));
        let (fault, mended) = match self.kernel.index(if self.plan.redis_forgets { 8 } else { 7 }) {
            0 => (Fault::ReplicaDies(replica), Fault::ReplicaBegins(replica)),
            1..=3 => (Fault::ExecutorDies(executor), Fault::ExecutorBegins(executor)),
            4 => (
                Fault::Cut(of_replica, Place::Redis),
                Fault::Heal(of_replica, Place::Redis),
            ),
            5..=6 => (
                Fault::Cut(of_replica, of_executor),
                Fault::Heal(of_replica, of_executor),
            ),
            _ => return self.kernel.at(at, Event::Fault(Fault::RedisForgets)),
        };
        self.kernel.at(at, Event::Fault(fault));
        self.kernel.at(until, Event::Fault(mended));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives(from, to, said) => self.arrives(from, to, said),
            Event::Replica { replica, life, what } => {
                if self.is_alive(replica, life) {
                    self.replica_timer(replica, what);
                }
            }
            Event::Heartbeat { executor, epoch } => self.executor_beats(executor, epoch),
            Event::Client => self.client_does_something(),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    fn arrives(&mut self, from: Place, to: Place, said: Said) {
        match (to, said) {
            (
                Place::Redis,
                Said::Ask {
                    replica,
                    life,
                    number,
                    asked,
                },
            ) => {
                let words = self.store.run(self.kernel.now(), &asked);
                match words {
                    Ok(words) => self.say(to, Place::Replica(replica), Said::Answer { life, number, words }),
                    Err(broken) => self.truth.broken(format!("{asked:?}: {broken}")),
                }
            }
            (Place::Replica(replica), Said::Heartbeat { epoch, sessions }) => {
                if let (Place::Executor(executor), true) = (from, self.replicas[replica].is_up) {
                    self.heartbeat(replica, Home { executor, epoch }, &sessions);
                }
            }
            (Place::Replica(replica), Said::Answer { life, number, words })
                if self.is_alive(replica, life) =>
            {
                self.is_answered(replica, number, Some(&words));
            }
            (Place::Replica(replica), Said::Done { life, number, done }) if self.is_alive(replica, life) => {
                self.is_done(replica, number, Some(done));
            }
            (Place::Executor(executor), said) => self.executor_hears(executor, from, said),
            _ => {}
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.truth.note(|| format!("{fault:?}"));
        match fault {
            Fault::Cut(one, other) => {
                self.network.cut(one, other);
            }
            Fault::Heal(one, other) => self.network.heal(one, other, &mut self.kernel, Event::Arrives),
            Fault::ReplicaDies(replica) => self.replica_dies(replica),
            Fault::ReplicaBegins(replica) => self.replica_begins(replica),
            Fault::ExecutorDies(executor) => self.executor_dies(executor),
            Fault::ExecutorBegins(executor) if !self.executors[executor].is_up => {
                self.executor_begins(executor)
            }
            Fault::ExecutorBegins(_) => {}
            Fault::RedisForgets => {
                self.store.forget();
                self.truth.directory_was_emptied();
            }
        }
    }

    fn say(&mut self, from: Place, to: Place, said: Said) {
        self.network
            .send(from, to, said, &mut self.kernel, Event::Arrives);
    }

    fn is_over(&self) -> bool {
        self.kernel.now() > self.plan.duration + AFTERMATH
    }

    /// When nothing has happened for long: what is there is known, and what is known is there.
    fn check_end(&mut self) {
        for session in 0..self.sessions.len() {
            let home = self.sessions[session].1;
            let executor = &self.executors[home.executor];
            let is_there = executor.is_up && executor.sessions.contains_key(&session);
            let is_open = self.store.is_open(self.kernel.now(), session);
            let counts = self.store.counts(self.kernel.now(), session);
            self.truth.check_end(session, is_there, is_open, counts);
        }
    }
}
