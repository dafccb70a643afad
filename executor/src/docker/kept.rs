//! Containers that stay with their tool between calls (`isolation: tool`). The key holds everything that could tell
//! two tools apart, so that a container never serves another tenant, tool or revision. The hash alone would not do: a tool
//! that is deleted and made anew with the same code must not find what its first life left behind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dynamic_mcp_shared::content::ContentHash;
use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::config::KeptConfig;
use super::container::Container;
use super::policy::SandboxShape;
use crate::metric_names;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub tenant: TenantId,
    pub tool: Option<String>,
    pub content: ContentHash,
    pub revision: u64,
    pub shape: SandboxShape,
}

/// A container that is, or will be, its tool's own.
pub struct Resident {
    pub container: Container,
    pub uses: u32,
    idle_since: Instant,
    /// Of a tool that keeps its containers, while a call has this one.
    busy: Option<Busy>,
}

impl Resident {
    pub fn new(container: Container) -> Self {
        Self {
            container,
            uses: 0,
            idle_since: Instant::now(),
            busy: None,
        }
    }
}

/// Counts a container as one that its tool may wait for, for as long as that is true, however its call ends.
struct Busy {
    shelves: Arc<KeptShelves>,
    key: Arc<Key>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelves.inner.lock().shelves.get_mut(&self.key) {
            shelf.busy = shelf.busy.saturating_sub(1);
        }
    }
}

pub struct KeptShelves {
    config: KeptConfig,
    /// Of all tools together.
    most_idle: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    shelves: HashMap<Key, Shelf>,
    idle: usize,
}

#[derive(Default)]
struct Shelf {
    idle: Vec<Resident>,
    /// In a call now, or promised to one.
    busy: usize,
    waiting: VecDeque<oneshot::Sender<Resident>>,
}

impl KeptShelves {
    pub fn new(config: KeptConfig, most_idle: usize) -> Self {
        Self {
            config,
            most_idle,
            inner: Mutex::default(),
        }
    }

    /// The one that was used last, so that the others can grow idle and go.
    pub fn take(self: &Arc<Self>, key: &Arc<Key>) -> Option<Resident> {
        let mut resident = self.take_idle(key)?;
        resident.busy = Some(self.busy(key));
        Some(resident)
    }

    /// Makes a container the tool's own.
    pub fn adopt(self: &Arc<Self>, key: &Arc<Key>, resident: &mut Resident) {
        let mut inner = self.inner.lock();
        inner.shelves.entry(Key::clone(key)).or_default().busy += 1;
        resident.busy = Some(self.busy(key));
    }

    /// The next one of the tool that comes back from a call; `None` when none is in one.
    pub fn next(&self, key: &Key) -> Option<oneshot::Receiver<Resident>> {
        let mut inner = self.inner.lock();
        let shelf = inner.shelves.get_mut(key).filter(|shelf| shelf.busy > 0)?;
        let (sender, next) = oneshot::channel();
        shelf.waiting.push_back(sender);
        Some(next)
    }

    /// After a call that left it usable.
    pub fn put_back(&self, mut resident: Resident) {
        if resident.uses >= self.config.max_uses || resident.container.too_old() {
            return;
        }
        let Some(busy) = resident.busy.take() else {
            return;
        };
        let Some((mut resident, busy)) = self.hand_over(resident, busy) else {
            return;
        };
        resident.idle_since = Instant::now();
        let mut inner = self.inner.lock();
        // Not until now: a shelf without any container is put away.
        inner
            .shelves
            .entry(Key::clone(&busy.key))
            .or_default()
            .idle
            .push(resident);
        inner.idle += 1;
        if inner.idle > self.most_idle {
            inner.evict_oldest();
        }
        // Takes the lock itself.
        drop(inner);
        drop(busy);
    }

    fn hand_over(&self, mut resident: Resident, busy: Busy) -> Option<(Resident, Busy)> {
        let mut inner = self.inner.lock();
        let waiting = &mut inner.shelves.get_mut(&busy.key)?.waiting;
        resident.busy = Some(busy);
        while let Some(next) = waiting.pop_front() {
            match next.send(resident) {
                Ok(()) => return None,
                Err(unwanted) => resident = unwanted,
            }
        }
        let busy = resident.busy.take()?;
        Some((resident, busy))
    }

    fn take_idle(&self, key: &Key) -> Option<Resident> {
        let mut inner = self.inner.lock();
        let Inner { shelves, idle } = &mut *inner;
        let shelf = shelves.get_mut(key)?;
        while let Some(mut resident) = shelf.idle.pop() {
            *idle -= 1;
            if !resident.container.too_old() && resident.container.is_quiet() {
                shelf.busy += 1;
                return Some(resident);
            }
        }
        None
    }

    fn busy(self: &Arc<Self>, key: &Arc<Key>) -> Busy {
        Busy {
            shelves: Arc::clone(self),
            key: Arc::clone(key),
        }
    }

    /// Gives up those that were idle for too long.
    pub fn tend(&self) {
        let mut inner = self.inner.lock();
        let Inner { shelves, idle } = &mut *inner;
        shelves.retain(|_, shelf| {
            let before = shelf.idle.len();
            shelf
                .idle
                .retain(|resident| resident.idle_since.elapsed() < self.config.idle);
            *idle -= before - shelf.idle.len();
            shelf.waiting.retain(|waiting| !waiting.is_closed());
            !shelf.idle.is_empty() || shelf.busy > 0
        });
        metrics::gauge!(metric_names::KEPT_IDLE).set(*idle as f64);
    }

    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }
}

impl Inner {
    fn evict_oldest(&mut self) {
        // The bottom of each shelf was used longest ago.
        let oldest = self
            .shelves
            .values_mut()
            .filter(|shelf| !shelf.idle.is_empty())
            .min_by_key(|shelf| shelf.idle[0].idle_since);
        if let Some(shelf) = oldest {
            shelf.idle.remove(0);
            self.idle -= 1;
        }
    }
}
