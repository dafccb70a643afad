//! The connections between replicas and executors: who opened one, at which end it still is, and how an end learns that
//! the other is gone. Stands for tonic's channels and servers with their keep-alive.

use std::collections::{BTreeSet, HashMap};

use dynamic_mcp_executor::node::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use dynamic_mcp_shared::job::{NodeStatus, RejectReason};

use super::{Event, World};
use crate::kernel::{Micros, SECOND, micros};
use crate::network::Place;

/// A dial that nothing answers.
const CONNECT: Micros = 5 * SECOND;

#[derive(Debug)]
pub struct Packet {
    pub connection: u64,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    /// The other end has closed it, or its process is no more.
    Reset,
    Prepare(u64),
    Start(u64),
    Cancel(u64),
    /// The caller gave a conversation up.
    Drop(u64),
    Ready(u64),
    Rejected(u64, RejectReason),
    /// And whether it was cancelled.
    Finished(u64, bool),
    /// A registration is the first of them.
    Heartbeat {
        epoch: u64,
        status: Box<NodeStatus>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The replica dials.
    Execute,
    /// The executor dials.
    Join,
}

#[derive(Debug, Clone, Copy)]
pub struct Connection {
    pub kind: Kind,
    pub replica: usize,
    pub executor: usize,
    at_replica: bool,
    at_executor: bool,
}

/// Why one end hears nothing of the other.
#[derive(Debug, Clone, Copy)]
pub enum Silence {
    Cut(u64),
    Frozen(u64),
    Dead,
}

#[derive(Default)]
pub struct Wires {
    all: HashMap<u64, Connection>,
    latest: HashMap<(usize, usize, Kind), u64>,
    of: HashMap<Place, BTreeSet<u64>>,
    count: u64,
}

impl Wires {
    pub fn get(&self, connection: u64) -> Option<Connection> {
        self.all.get(&connection).copied()
    }

    fn is_open(&self, connection: u64, side: Place) -> bool {
        self.of.get(&side).is_some_and(|open| open.contains(&connection))
    }

    fn open(&mut self, kind: Kind, replica: usize, executor: usize) -> u64 {
        self.count += 1;
        let connection = Connection {
            kind,
            replica,
            executor,
            at_replica: true,
            at_executor: true,
        };
        self.all.insert(self.count, connection);
        self.latest.insert((replica, executor, kind), self.count);
        for side in [Place::Replica(replica), Place::Executor(executor)] {
            self.of.entry(side).or_default().insert(self.count);
        }
        self.count
    }

    /// Answers what it was if it was open at that end.
    fn close(&mut self, connection: u64, side: Place) -> Option<Connection> {
        if !self.of.get_mut(&side)?.remove(&connection) {
            return None;
        }
        let open = self.all.get_mut(&connection)?;
        match side {
            Place::Replica(_) => open.at_replica = false,
            _ => open.at_executor = false,
        }
        let was = *open;
        if !open.at_replica && !open.at_executor {
            self.all.remove(&connection);
        }
        Some(was)
    }

    fn between(&self, replica: usize, executor: usize) -> Vec<u64> {
        let latest = [Kind::Execute, Kind::Join].map(|kind| self.latest.get(&(replica, executor, kind)));
        latest.into_iter().flatten().copied().collect()
    }
}

impl Connection {
    fn peer(&self, side: Place) -> Place {
        match side {
            Place::Replica(_) => Place::Executor(self.executor),
            _ => Place::Replica(self.replica),
        }
    }
}

impl World {
    /// The connection that is open at the end of who dials, or a new one.
    pub fn dial(&mut self, kind: Kind, replica: usize, executor: usize) -> u64 {
        let dialler = match kind {
            Kind::Execute => Place::Replica(replica),
            Kind::Join => Place::Executor(executor),
        };
        let latest = self.wires.latest.get(&(replica, executor, kind)).copied();
        if let Some(latest) = latest.filter(|&latest| self.wires.is_open(latest, dialler)) {
            return latest;
        }
        let connection = self.wires.open(kind, replica, executor);
        if let Some(cut) = self
            .network
            .cut_between(Place::Replica(replica), Place::Executor(executor))
        {
            let because = Silence::Cut(cut);
            self.kernel.after(
                CONNECT,
                Event::Silent {
                    side: dialler,
                    connection,
                    because,
                },
            );
        }
        connection
    }

    pub fn send(&mut self, from: Place, to: Place, connection: u64, body: Body) {
        if self.wires.is_open(connection, from) {
            self.send_whatever(from, to, Packet { connection, body });
        }
    }

    fn send_whatever(&mut self, from: Place, to: Place, packet: Packet) {
        self.network
            .send(from, to, packet, &mut self.kernel, Event::Arrives);
    }

    pub fn arrives(&mut self, from: Place, to: Place, packet: Packet) {
        let Packet { connection, body } = packet;
        let is_up = match to {
            Place::Replica(replica) => self.replicas[replica].is_up,
            Place::Executor(executor) => self.executors[executor].is_up,
            Place::Redis => true,
        };
        if matches!(body, Body::Reset) {
            self.ends_at(to, connection);
            return;
        }
        if !is_up || !self.wires.is_open(connection, to) {
            // A machine that knows nothing of the connection says so.
            self.ends_at(to, connection);
            self.send_whatever(
                to,
                from,
                Packet {
                    connection,
                    body: Body::Reset,
                },
            );
            return;
        }
        match body {
            Body::Reset => {}
            Body::Heartbeat { epoch, status } => self.heartbeat(connection, epoch, *status),
            Body::Prepare(conversation) => self.executor_prepares(conversation),
            Body::Start(conversation) => self.executor_starts(conversation),
            Body::Cancel(conversation) | Body::Drop(conversation) => self.executor_cancels(conversation),
            Body::Ready(conversation) => self.client_ready(conversation),
            Body::Rejected(conversation, reason) => self.client_rejected(conversation, reason),
            Body::Finished(conversation, cancelled) => self.client_finished(conversation, cancelled),
        }
    }

    pub fn finds_silent(&mut self, side: Place, connection: u64, because: Silence) {
        let Some(open) = self.wires.get(connection) else {
            return;
        };
        let (replica, executor) = (Place::Replica(open.replica), Place::Executor(open.executor));
        let still = match because {
            Silence::Cut(cut) => self.network.cut_between(replica, executor) == Some(cut),
            Silence::Frozen(number) => self.replicas[open.replica].frozen == Some(number),
            Silence::Dead => true,
        };
        if still && self.ends_at(side, connection) {
            self.send_whatever(
                side,
                open.peer(side),
                Packet {
                    connection,
                    body: Body::Reset,
                },
            );
        }
    }

    /// From now on these ends get nothing from the other. Each notices within one interval and the time that a ping gets.
    pub fn falls_silent(&mut self, replica: usize, executor: usize, sides: &[Place], because: Silence) {
        for connection in self.wires.between(replica, executor) {
            for &side in sides {
                self.hears_no_more(connection, side, because);
            }
        }
    }

    fn hears_no_more(&mut self, connection: u64, side: Place, because: Silence) {
        let [interval, patience] = [KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT].map(micros);
        // Often the ping was just answered.
        let latest = interval + patience;
        let notices = if self.kernel.chance(30) {
            latest
        } else {
            self.kernel.between(patience, latest)
        };
        self.kernel.after(
            notices,
            Event::Silent {
                side,
                connection,
                because,
            },
        );
    }

    /// All connections of a process end with it. Its machine says so, unless the power went.
    pub fn process_dies(&mut self, place: Place, says_so: bool) {
        for connection in self.wires.of.get(&place).cloned().unwrap_or_default() {
            let Some(open) = self.wires.close(connection, place) else {
                continue;
            };
            let peer = open.peer(place);
            if says_so {
                self.send_whatever(
                    place,
                    peer,
                    Packet {
                        connection,
                        body: Body::Reset,
                    },
                );
            } else {
                self.hears_no_more(connection, peer, Silence::Dead);
            }
        }
    }

    /// Answers whether it was open at that end.
    fn ends_at(&mut self, side: Place, connection: u64) -> bool {
        let Some(open) = self.wires.close(connection, side) else {
            return false;
        };
        match (open.kind, side) {
            (Kind::Execute, Place::Replica(_)) => self.clients_lose(connection),
            (Kind::Execute, _) => self.servers_lose(connection),
            (Kind::Join, Place::Replica(replica)) => self.replicas[replica].leaves(open.executor, connection),
            (Kind::Join, _) => self.executor_is_not_joined(open.executor, open.replica, connection),
        }
        true
    }
}
