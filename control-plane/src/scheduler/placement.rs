//! Where a job goes: decided from what is known of the nodes, without a clock, a lock or a look at each node.
//!
//! The nodes that could take a job are kept ready in one pool for each thing that a job may need, and each change of a
//! node moves it between them. A choice then costs the same among ten nodes and among ten thousand, and since the pools
//! are exact, a refusal means that no node can.

mod pool;

use std::collections::HashMap;

use dynamic_mcp_shared::job::{Job, Runtime};
use rand::Rng;

use self::pool::{Members, Pool};

/// What a job needs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    Node { image: &'a str },
    Isolate,
}

impl<'a> Need<'a> {
    pub fn of(job: &'a Job) -> Self {
        match job.runtime {
            Runtime::Node => Need::Node { image: &job.image },
            Runtime::Isolate => Need::Isolate,
        }
    }

    pub const fn runtime(self) -> Runtime {
        match self {
            Need::Node { .. } => Runtime::Node,
            Need::Isolate => Runtime::Isolate,
        }
    }
}

/// A node as placement sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub slots: u32,
    /// Jobs it runs or is about to run, this replica's reservations included.
    pub used: u32,
    /// Fresh and not draining.
    pub takes_work: bool,
    /// What it offers, once each.
    pub runtimes: Vec<Offer>,
    /// Those it has, once each.
    pub images: Vec<Image>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub runtime: Runtime,
    /// It can run jobs now; otherwise it may again.
    pub ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// Sandboxes of it that wait for a job.
    pub warm: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    NoNodes,
    /// No node offers the runtime, whatever else is the matter with it.
    NoRuntime,
    /// None of those that offer the runtime takes its work now.
    NotReady,
    /// None of those that take work has the image.
    NoImage,
    Full,
}

/// A node's place in the [`Index`], until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(usize);

/// How many of the fitting nodes are compared: enough to avoid the busiest, few enough that replicas which see the same
/// picture don't all choose the same node.
const COMPARED: usize = 3;

/// All nodes, sorted by what they could take.
#[derive(Debug, Default)]
pub struct Index {
    nodes: Vec<Option<Facts>>,
    free: Vec<NodeKey>,
    runtimes: [Tally; Runtime::ALL.len()],
    isolates: Pool,
    /// By image; only those that some node has ready.
    images: HashMap<String, Pool>,
}

/// Nodes by what they say of one runtime.
#[derive(Debug, Default)]
struct Tally {
    offered: usize,
    /// Offered, ready, and the node takes work.
    ready: usize,
}

/// How far a node is from taking a job, the nearest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    LacksRuntime,
    NotReady,
    LacksImage,
    Full,
    Open,
}

impl Index {
    pub fn insert(&mut self, facts: Facts) -> NodeKey {
        let key = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            NodeKey(self.nodes.len() - 1)
        });
        self.update(key, facts);
        key
    }

    /// What is known of it now.
    pub fn update(&mut self, key: NodeKey, facts: Facts) {
        if self.nodes[key.0].as_ref() == Some(&facts) {
            return;
        }
        self.take_out(key);
        self.tally(&facts, |count| *count += 1);
        for (need, warm) in pools_of(&facts) {
            let pool = match need {
                Need::Isolate => &mut self.isolates,
                Need::Node { image } => self.images.entry(image.to_owned()).or_default(),
            };
            pool.put(key, facts.used < facts.slots, warm);
        }
        self.nodes[key.0] = Some(facts);
    }

    /// The same node with a job more or less.
    pub fn set_used(&mut self, key: NodeKey, used: u32) {
        let Some(facts) = &mut self.nodes[key.0] else {
            return;
        };
        let was_open = facts.used < facts.slots;
        facts.used = used;
        let is_open = used < facts.slots;
        if was_open == is_open {
            return;
        }
        for (need, warm) in pools_of(facts) {
            let pool = match need {
                Need::Isolate => Some(&mut self.isolates),
                Need::Node { image } => self.images.get_mut(image),
            };
            if let Some(pool) = pool {
                pool.place(key, is_open, warm);
            }
        }
    }

    pub fn remove(&mut self, key: NodeKey) {
        self.take_out(key);
        self.free.push(key);
    }

    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any node has it, be it down at this moment.
    pub fn offers(&self, runtime: Runtime) -> bool {
        self.runtimes[runtime as usize].offered > 0
    }

    /// The node for a job that is not among the tried ones.
    ///
    /// # Errors
    /// Says what is lacking, also after the tried ones are left out.
    pub fn choose(&self, need: Need<'_>, tried: &[NodeKey], rng: &mut impl Rng) -> Result<NodeKey, NoPlace> {
        let chosen = self.pool(need).and_then(|pool| {
            self.best_of(&pool.warm, tried, rng)
                .or_else(|| self.best_of(&pool.open, tried, rng))
        });
        chosen.ok_or_else(|| self.lacking(need, tried))
    }

    /// A node on which the job may wait for a slot, where none has one free.
    pub fn choose_full(&self, need: Need<'_>, tried: &[NodeKey], rng: &mut impl Rng) -> Option<NodeKey> {
        self.best_of(&self.pool(need)?.able, tried, rng)
    }

    fn best_of(&self, members: &Members, tried: &[NodeKey], rng: &mut impl Rng) -> Option<NodeKey> {
        members
            .draw(COMPARED + tried.len(), rng)
            .filter(|key| !tried.contains(key))
            .take(COMPARED)
            .min_by(|&a, &b| self.load(a).total_cmp(&self.load(b)))
    }

    fn load(&self, key: NodeKey) -> f64 {
        self.nodes[key.0].as_ref().map_or(f64::INFINITY, |facts| {
            f64::from(facts.used) / f64::from(facts.slots.max(1))
        })
    }

    fn lacking(&self, need: Need<'_>, tried: &[NodeKey]) -> NoPlace {
        let left = |all: usize, at_least: Standing| {
            let tried = tried.iter().filter_map(|key| self.nodes[key.0].as_ref());
            all > tried.filter(|facts| standing(facts, need) >= at_least).count()
        };
        let tally = &self.runtimes[need.runtime() as usize];
        let able = self.pool(need).map_or(0, |pool| pool.able.len());
        if !left(self.len(), Standing::LacksRuntime) {
            NoPlace::NoNodes
        } else if !left(tally.offered, Standing::NotReady) {
            NoPlace::NoRuntime
        } else if !left(tally.ready, Standing::LacksImage) {
            NoPlace::NotReady
        } else if !left(able, Standing::Full) {
            NoPlace::NoImage
        } else {
            NoPlace::Full
        }
    }

    fn pool(&self, need: Need<'_>) -> Option<&Pool> {
        match need {
            Need::Isolate => Some(&self.isolates),
            Need::Node { image } => self.images.get(image),
        }
    }

    fn take_out(&mut self, key: NodeKey) {
        let Some(facts) = self.nodes[key.0].take() else {
            return;
        };
        self.tally(&facts, |count| *count -= 1);
        for (need, _) in pools_of(&facts) {
            match need {
                Need::Isolate => self.isolates.take_out(key),
                Need::Node { image } => {
                    if let Some(pool) = self.images.get_mut(image) {
                        pool.take_out(key);
                        if pool.able.len() == 0 {
                            self.images.remove(image);
                        }
                    }
                }
            }
        }
    }

    fn tally(&mut self, facts: &Facts, count: fn(&mut usize)) {
        for offer in &facts.runtimes {
            let tally = &mut self.runtimes[offer.runtime as usize];
            count(&mut tally.offered);
            if facts.takes_work && offer.ready {
                count(&mut tally.ready);
            }
        }
    }
}

/// The pools that a node belongs in, full or not, and whether it has a warm sandbox for each.
fn pools_of(facts: &Facts) -> impl Iterator<Item = (Need<'_>, bool)> {
    let is_ready = |runtime| standing_of_runtime(facts, runtime) == Standing::LacksImage;
    let isolate = is_ready(Runtime::Isolate).then_some((Need::Isolate, false));
    let images = if is_ready(Runtime::Node) {
        facts.images.as_slice()
    } else {
        &[]
    };
    let images = images
        .iter()
        .map(|image| (Need::Node { image: &image.name }, image.warm > 0));
    isolate.into_iter().chain(images)
}

fn standing(facts: &Facts, need: Need<'_>) -> Standing {
    let by_runtime = standing_of_runtime(facts, need.runtime());
    let has_image = match need {
        Need::Isolate => true,
        Need::Node { image } => facts.images.iter().any(|known| known.name == image),
    };
    if by_runtime < Standing::LacksImage || !has_image {
        by_runtime
    } else if facts.used < facts.slots {
        Standing::Open
    } else {
        Standing::Full
    }
}

/// As far as the runtime goes, images and slots left aside.
fn standing_of_runtime(facts: &Facts, runtime: Runtime) -> Standing {
    match facts.runtimes.iter().find(|offer| offer.runtime == runtime) {
        None => Standing::LacksRuntime,
        Some(offer) if offer.ready && facts.takes_work => Standing::LacksImage,
        Some(_) => Standing::NotReady,
    }
}

#[cfg(test)]
mod tests;
