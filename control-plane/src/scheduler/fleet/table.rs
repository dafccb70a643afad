//! The books: every executor that is known, kept together with what placement knows of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use dynamic_mcp_shared::job::{NodeStatus, Runtime};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outgoing::{News, Told};
use super::{FORGOTTEN_AFTER, NodeInfo, NotThere, OutOfDate, STALE_AFTER, StatusSource, Ways};
use crate::scheduler::placement::{Facts, Image, Index, Need, NoPlace, NodeKey, Offer};

#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<ExecutorId, Entry>,
    ids: HashMap<NodeKey, ExecutorId>,
    index: Index,
    /// When each that is fresh gets stale if it says nothing more.
    fresh_until: BTreeSet<(Instant, NodeKey)>,
    /// Those in this process.
    local: Vec<ExecutorId>,
    tickets: u64,
    /// Whether there are other replicas to tell.
    tells: bool,
    /// Joined here, and with something that other replicas have not been told.
    untold: HashSet<ExecutorId>,
    /// Were joined here, and other replicas have not been told that they are no more.
    departed: Vec<(ExecutorId, u64)>,
    chance: Chance,
}

/// What placement draws with.
struct Chance(SmallRng);

impl Default for Chance {
    fn default() -> Self {
        Self(SmallRng::from_os_rng())
    }
}

/// An executor and the way to it.
pub(super) struct Node {
    pub(super) info: Arc<NodeInfo>,
    pub(super) ways: Ways,
}

/// Tells a stream from its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

pub(super) struct Entry {
    pub(super) node: Arc<Node>,
    key: NodeKey,
    pub(super) status: Arc<NodeStatus>,
    pub(super) heard_at: Instant,
    /// Jobs of this replica that hold a slot there.
    pub(super) mine: u32,
    /// What `mine` was at the last heartbeat, which counted those jobs too.
    mine_when_heard: u32,
    /// As it is in the table's own order.
    fresh_until: Option<Instant>,
    pub(super) own: Option<Own>,
    /// The other replicas that it has joined, and when they told of it last.
    pub(super) others: BTreeMap<ReplicaId, Instant>,
}

/// It has joined this replica.
pub(super) struct Own {
    ticket: Ticket,
    superseded: CancellationToken,
    /// It lives in this process.
    pub(super) ask: Option<Box<dyn Fn() -> NodeStatus + Send + Sync>>,
}

impl Entry {
    pub(super) fn is_local(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.ask.is_some())
    }

    pub(super) fn is_stale(&self, now: Instant) -> bool {
        !self.is_local() && now.saturating_duration_since(self.heard_at) > STALE_AFTER
    }

    /// The other replicas that still hold it, as far as this one knows.
    pub(super) fn others_lately(&self, now: Instant) -> impl Iterator<Item = &ReplicaId> {
        let lately = move |told_at: Instant| now.saturating_duration_since(told_at) <= STALE_AFTER;
        let others = self.others.iter();
        others.filter_map(move |(replica, &told_at)| lately(told_at).then_some(replica))
    }

    fn used(&self) -> u32 {
        let running = self.status.running;
        if self.is_local() {
            running.max(self.mine)
        } else {
            // It counts the jobs of every replica; those of ours that began or ended since are known better here.
            running.saturating_sub(self.mine_when_heard) + self.mine
        }
    }

    fn facts(&self, now: Instant) -> Facts {
        let status = &*self.status;
        let mut images: Vec<_> = status.images.iter().filter(|image| image.present).collect();
        images.sort_by(|one, other| one.name.cmp(&other.name));
        images.dedup_by(|one, other| one.name == other.name);
        let offers = Runtime::ALL.into_iter().filter_map(|runtime| {
            let offered = status.runtime(runtime)?;
            let ready = offered.is_available();
            Some(Offer { runtime, ready })
        });
        Facts {
            slots: status.slots,
            used: self.used(),
            takes_work: !status.draining && !self.is_stale(now),
            runtimes: offers.collect(),
            images: images
                .into_iter()
                .map(|image| Image {
                    name: image.name.clone(),
                    warm: image.warm,
                })
                .collect(),
        }
    }
}

impl Table {
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            chance: Chance(SmallRng::seed_from_u64(seed)),
            ..Self::default()
        }
    }

    /// Answers what names the stream, and the status that it came with.
    pub(super) fn join(
        &mut self,
        node: Node,
        source: StatusSource,
        superseded: CancellationToken,
        now: Instant,
    ) -> Result<(Ticket, Option<Arc<NodeStatus>>), OutOfDate> {
        let (id, epoch) = (node.info.id.clone(), node.info.epoch);
        if let Some(current) = self.entries.get(&id).map(|entry| entry.node.info.epoch)
            && current > epoch
        {
            return Err(OutOfDate { id, epoch, current });
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let (status, ask) = match source {
            StatusSource::Reported(status) => (Arc::new(status), None),
            StatusSource::Local(ask) => (Arc::new(ask()), Some(ask)),
        };
        let said = ask.is_none().then(|| status.clone());
        if ask.is_some() {
            self.local.push(id.clone());
        }
        let own = Own {
            ticket,
            superseded,
            ask,
        };
        self.put(node, status, now, |entry| entry.own = Some(own));
        if said.is_some() {
            // What is told after that it is here must not say that it is not.
            self.departed.retain(|(departed, _)| *departed != id);
            self.must_tell(id);
        }
        Ok((ticket, said))
    }

    /// On the stream of that ticket. Answers whether that still counts.
    pub(super) fn heard(
        &mut self,
        id: &ExecutorId,
        ticket: Ticket,
        status: Arc<NodeStatus>,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        if entry.own.as_ref().is_none_or(|own| own.ticket != ticket) {
            return false;
        }
        entry.say(status, now);
        self.must_tell(id.clone());
        self.refresh(id, now);
        true
    }

    pub(super) fn told(
        &mut self,
        by: &ReplicaId,
        info: NodeInfo,
        status: NodeStatus,
        said_at: Instant,
        connect: impl FnOnce(&NodeInfo) -> Option<Ways>,
    ) {
        let now = Instant::now();
        if let Some(entry) = self.entries.get_mut(&info.id) {
            let current = &entry.node.info;
            if current.epoch > info.epoch {
                return;
            }
            if current.epoch == info.epoch {
                let told_at = entry.others.entry(by.clone()).or_insert(said_at);
                *told_at = (*told_at).max(said_at);
                let is_newer = said_at > entry.heard_at;
                let own_counts = entry.own.is_some() && !entry.is_stale(now);
                if own_counts || !is_newer {
                    return;
                }
                if entry.own.is_some() || current.address == info.address {
                    entry.say(Arc::new(status), said_at);
                    let id = info.id;
                    self.refresh(&id, now);
                    return;
                }
            }
        }
        let Some(ways) = connect(&info) else { return };
        let info = Arc::new(info);
        let node = Node { info, ways };
        self.put(node, Arc::new(status), said_at, |entry| {
            entry.others.insert(by.clone(), said_at);
        });
    }

    pub(super) fn departed(&mut self, by: &ReplicaId, id: &ExecutorId, epoch: u64) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.node.info.epoch != epoch {
            return;
        }
        entry.others.remove(by);
        self.gone(id, epoch);
    }

    pub(super) fn gone(&mut self, id: &ExecutorId, epoch: u64) {
        let entry = self.entries.get(id);
        if entry.is_some_and(|entry| entry.node.info.epoch == epoch && entry.own.is_none()) {
            self.remove(id);
        }
    }

    /// The stream of that ticket has ended; `by_executor`: it was not this replica that ended it.
    pub(super) fn leave(&mut self, id: &ExecutorId, ticket: Ticket, by_executor: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Some(own) = entry.own.take_if(|own| own.ticket == ticket) else {
            return;
        };
        let epoch = entry.node.info.epoch;
        let held_elsewhere = entry.others_lately(now).next().is_some();
        if own.ask.is_some() {
            self.local.retain(|local| local != id);
        } else if self.tells && by_executor {
            self.departed.push((id.clone(), epoch));
        }
        self.untold.remove(id);
        if !held_elsewhere {
            self.remove(id);
        }
    }

    pub(super) fn forget_lost(&mut self, now: Instant) {
        let lost: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.own.is_none() && now.saturating_duration_since(entry.heard_at) > FORGOTTEN_AFTER
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            self.remove(&id);
        }
    }

    pub(super) fn reserve(
        &mut self,
        need: Need<'_>,
        tried: &[ExecutorId],
        now: Instant,
    ) -> Result<Arc<Node>, NoPlace> {
        self.catch_up(now);
        let tried = self.keys_of(tried);
        let key = self.index.choose(need, &tried, &mut self.chance.0)?;
        self.take(key).ok_or(NoPlace::NoNodes)
    }

    /// One that is full, for a job that waits there.
    pub(super) fn reserve_full(
        &mut self,
        need: Need<'_>,
        tried: &[ExecutorId],
        now: Instant,
    ) -> Option<Arc<Node>> {
        self.catch_up(now);
        let tried = self.keys_of(tried);
        let key = self.index.choose_full(need, &tried, &mut self.chance.0)?;
        self.take(key)
    }

    fn keys_of(&self, ids: &[ExecutorId]) -> Vec<NodeKey> {
        let known = ids.iter().filter_map(|id| self.entries.get(id));
        known.map(|entry| entry.key).collect()
    }

    fn take(&mut self, key: NodeKey) -> Option<Arc<Node>> {
        let entry = self.entries.get_mut(self.ids.get(&key)?)?;
        entry.mine += 1;
        self.index.set_used(key, entry.used());
        Some(entry.node.clone())
    }

    pub(super) fn release(&mut self, info: &NodeInfo) {
        if let Some(entry) = self.entries.get_mut(&info.id)
            && entry.node.info.epoch == info.epoch
        {
            entry.mine = entry.mine.saturating_sub(1);
            self.index.set_used(entry.key, entry.used());
        }
    }

    pub(super) fn pinned(&self, id: &ExecutorId, epoch: u64, now: Instant) -> Result<Arc<Node>, NotThere> {
        let entry = self
            .entries
            .get(id)
            .ok_or_else(|| NotThere::Unknown(id.clone()))?;
        let current = entry.node.info.epoch;
        if current != epoch {
            return Err(NotThere::OtherEpoch {
                id: id.clone(),
                wanted: epoch,
                current,
            });
        }
        if entry.is_stale(now) {
            return Err(NotThere::Stale {
                id: id.clone(),
                seconds: now.saturating_duration_since(entry.heard_at).as_secs(),
            });
        }
        Ok(entry.node.clone())
    }

    pub(super) fn offered(&self) -> Vec<Runtime> {
        Runtime::ALL
            .into_iter()
            .filter(|&runtime| self.index.offers(runtime))
            .collect()
    }

    pub(super) fn news(&mut self) -> News {
        let untold = std::mem::take(&mut self.untold);
        let heard = untold.iter().filter_map(|id| self.entries.get(id));
        News {
            heard: heard
                .map(|entry| Told {
                    info: entry.node.info.clone(),
                    status: entry.status.clone(),
                })
                .collect(),
            departed: std::mem::take(&mut self.departed),
        }
    }

    pub(super) fn tell_departed_again(&mut self, departed: Vec<(ExecutorId, u64)>) {
        let entries = &self.entries;
        let is_gone = |id: &ExecutorId| entries.get(id).is_none_or(|entry| entry.own.is_none());
        self.departed
            .extend(departed.into_iter().filter(|(id, _)| is_gone(id)));
    }

    /// From now on there are others to tell, and everything that has joined here is news to them.
    pub(super) fn tell_all(&mut self) {
        self.tells = true;
        let joined = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.own.is_some() && !entry.is_local());
        self.untold = joined.map(|(id, _)| id.clone()).collect();
    }

    /// What time and the executor in this process have changed.
    pub(super) fn catch_up(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.fresh_until.first()
            && until < now
        {
            self.fresh_until.pop_first();
            if let Some(entry) = self.ids.get(&key).and_then(|id| self.entries.get_mut(id)) {
                entry.fresh_until = None;
                self.index.update(key, entry.facts(now));
            }
        }
        for id in &self.local {
            if let Some(entry) = self.entries.get_mut(id)
                && let Some(ask) = entry.own.as_ref().and_then(|own| own.ask.as_ref())
            {
                entry.status = Arc::new(ask());
                self.index.update(entry.key, entry.facts(now));
            }
        }
    }

    /// Adds it, or puts it in the place of the one that was known by its id. What an older epoch had on it is gone.
    fn put(&mut self, node: Node, status: Arc<NodeStatus>, heard_at: Instant, then: impl FnOnce(&mut Entry)) {
        let id = node.info.id.clone();
        let node = Arc::new(node);
        match self.entries.get_mut(&id) {
            Some(entry) => {
                if entry.node.info.epoch < node.info.epoch {
                    entry.mine = 0;
                    entry.others.clear();
                }
                if let Some(own) = entry.own.take() {
                    own.superseded.cancel();
                }
                entry.node = node;
                entry.say(status, heard_at);
                then(entry);
            }
            None => {
                let key = self.index.insert(Facts::default());
                let mut entry = Entry {
                    node,
                    key,
                    status,
                    heard_at,
                    mine: 0,
                    mine_when_heard: 0,
                    fresh_until: None,
                    own: None,
                    others: BTreeMap::new(),
                };
                then(&mut entry);
                self.ids.insert(key, id.clone());
                self.entries.insert(id.clone(), entry);
            }
        }
        self.refresh(&id, Instant::now());
    }

    fn must_tell(&mut self, id: ExecutorId) {
        if self.tells {
            self.untold.insert(id);
        }
    }

    fn remove(&mut self, id: &ExecutorId) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        self.index.remove(entry.key);
        self.ids.remove(&entry.key);
        if let Some(until) = entry.fresh_until {
            self.fresh_until.remove(&(until, entry.key));
        }
    }

    /// Brings what placement knows of it up to date.
    fn refresh(&mut self, id: &ExecutorId, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Some(until) = entry.fresh_until.take() {
            self.fresh_until.remove(&(until, entry.key));
        }
        if !entry.is_local() {
            let until = entry.heard_at + STALE_AFTER;
            self.fresh_until.insert((until, entry.key));
            entry.fresh_until = Some(until);
        }
        self.index.update(entry.key, entry.facts(now));
    }
}

impl Entry {
    fn say(&mut self, status: Arc<NodeStatus>, at: Instant) {
        self.status = status;
        self.heard_at = at;
        self.mine_when_heard = self.mine;
    }
}
