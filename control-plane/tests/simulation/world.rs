//! The deployment: its processes, the wires between them and what goes wrong, and who handles which event.
//!
//! What decides is the product's own code: the scripts in Redis, the fleet's table and placement, the retry rule, and an
//! executor's admission of jobs. What only carries a decision out is modelled here: streams, timers and the client's side
//! of a conversation, each beside the name of what it stands for.

pub mod books;
pub mod calls;
pub mod conversations;
pub mod executors;
pub mod faults;
pub mod guard;
pub mod replicas;
pub mod store;
pub mod wires;

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::{Kernel, Micros, SECOND};
use crate::network::{Network, Place};
use crate::plan::Plan;
use crate::truth::{Truth, Violation};
use calls::CallState;
use conversations::{Conversation, OnConnection};
use executors::Executor;
use replicas::Replica;
use store::{Store, Words};
use wires::{Packet, Silence, Wires};

/// When nothing but what is under way goes on, how long that may take.
const SETTLE: Micros = 120 * SECOND;

#[derive(Debug)]
pub enum Event {
    Arrives(Place, Place, Packet),
    /// The same between a replica and Redis.
    Said(Place, Words),
    /// One end of a connection finds that the other has been silent for too long, if it still is.
    Silent {
        side: Place,
        connection: u64,
        because: Silence,
    },
    Call(usize, calls::Step),
    Conversation(u64, conversations::Timer),
    Replica {
        replica: usize,
        life: u32,
        event: guard::Event,
    },
    Executor {
        executor: usize,
        epoch: u64,
        what: executors::Timer,
    },
    Fault(faults::Fault),
}

pub struct World {
    pub plan: Plan,
    pub kernel: Kernel<Event>,
    pub network: Network<Packet>,
    pub store_network: Network<Words>,
    pub store: Store,
    pub truth: Truth,
    pub replicas: Vec<Replica>,
    pub executors: Vec<Executor>,
    pub calls: Vec<CallState>,
    /// By replica.
    pub under_way: Vec<BTreeSet<usize>>,
    pub wires: Wires,
    pub conversations: BTreeMap<u64, Conversation>,
    pub on_connection: OnConnection,
    pub conversation_count: u64,
    pub faults: faults::Faults,
}

impl World {
    /// Runs it to the end, or to the first thing that must not be. Needs tokio's paused clock, which it moves along.
    pub async fn run(plan: Plan) -> Result<Self, Violation> {
        let mut world = Self::new(plan);
        let mut now = 0;
        while let Some(event) = world.kernel.next() {
            let then = world.kernel.now();
            tokio::time::advance(std::time::Duration::from_micros(then - now)).await;
            now = then;
            world.truth.now = now;
            world.handle(event);
            if let Some(violation) = world.truth.violation() {
                return Err(violation.clone());
            }
            if now > plan.duration + SETTLE {
                return Err(Violation("the deployment does not come to rest".to_owned()));
            }
        }
        world.truth.check_end();
        world.check_books_at_the_end();
        match world.truth.violation() {
            Some(violation) => Err(violation.clone()),
            None => Ok(world),
        }
    }

    fn new(plan: Plan) -> Self {
        let mut kernel = Kernel::new(plan.seed);
        let calls: Vec<_> = (0..plan.calls)
            .map(|_| CallState::draw(&plan, &mut kernel))
            .collect();
        let tenants = calls.iter().map(|call| call.tenant).collect();
        let limits = vec![plan.tenant_limit as usize; plan.tenants];
        let replicas = (0..plan.replicas)
            .map(|number| Replica::new(number, kernel.draw()))
            .collect();
        let mut world = Self {
            plan,
            kernel,
            network: Network::new(),
            store_network: Network::new(),
            store: Store::new(),
            truth: Truth::new(plan.limit as usize, limits, tenants),
            replicas,
            executors: (0..plan.executors)
                .map(|number| Executor::new(number, plan.slots, plan.replicas))
                .collect(),
            calls,
            under_way: vec![BTreeSet::new(); plan.replicas],
            wires: Wires::default(),
            conversations: BTreeMap::new(),
            on_connection: OnConnection::new(),
            conversation_count: 0,
            faults: faults::Faults::default(),
        };
        for executor in 0..plan.executors {
            world.executor_begins(executor);
        }
        for replica in 0..plan.replicas {
            world.guard_begins(replica);
        }
        for call in 0..plan.calls {
            let at = world.calls[call].arrives_at;
            world.kernel.at(at, Event::Call(call, calls::Step::Arrives));
        }
        world.plan_faults();
        world.truth.tells_story = plan.tells_story;
        world
    }

    fn handle(&mut self, event: Event) {
        let Some(event) = self.unless_frozen(event) else {
            return;
        };
        match event {
            Event::Arrives(from, to, packet) => self.arrives(from, to, packet),
            Event::Said(to, words) => self.said(to, words),
            Event::Silent {
                side,
                connection,
                because,
            } => self.finds_silent(side, connection, because),
            Event::Call(call, step) => self.call_steps(call, step),
            Event::Conversation(conversation, timer) => self.conversation_timer(conversation, timer),
            Event::Replica { replica, life, event } => {
                if self.replicas[replica].is_up && self.replicas[replica].life == life {
                    self.guard_event(replica, event);
                }
            }
            Event::Executor {
                executor,
                epoch,
                what,
            } => self.executor_timer(executor, epoch, what),
            Event::Fault(fault) => self.fault(fault),
        }
    }
}
