//! Containers that stay with their tool between calls (`isolation: tool`). The key holds everything that could tell
//! two tools apart, so that a container never serves another tenant, tool or revision; the same hash is the same code.

use std::collections::{HashMap, VecDeque};

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
    pub shape: SandboxShape,
}

/// A container with its tool's module loaded.
pub struct Resident {
    pub container: Container,
    pub uses: u32,
    idle_since: Instant,
}

impl Resident {
    pub fn new(container: Container) -> Self {
        Self {
            container,
            uses: 0,
            idle_since: Instant::now(),
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
    pub fn take(&self, key: &Key) -> Option<Resident> {
        let mut inner = self.inner.lock();
        let Inner { shelves, idle } = &mut *inner;
        let shelf = shelves.get_mut(key)?;
        while let Some(mut resident) = shelf.idle.pop() {
            *idle -= 1;
            if !resident.container.too_old() && resident.container.is_quiet() {
                return Some(resident);
            }
        }
        None
    }

    /// The next one of the tool that comes back from a call.
    pub fn next(&self, key: &Key) -> oneshot::Receiver<Resident> {
        let (sender, next) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner
            .shelves
            .entry(key.clone())
            .or_default()
            .waiting
            .push_back(sender);
        next
    }

    /// After a call that left it usable.
    pub fn put_back(&self, key: Key, mut resident: Resident) {
        if resident.uses >= self.config.max_uses || resident.container.too_old() {
            return;
        }
        let mut inner = self.inner.lock();
        let shelf = inner.shelves.entry(key).or_default();
        while let Some(waiting) = shelf.waiting.pop_front() {
            match waiting.send(resident) {
                Ok(()) => return,
                Err(unwanted) => resident = unwanted,
            }
        }
        resident.idle_since = Instant::now();
        shelf.idle.push(resident);
        inner.idle += 1;
        if inner.idle > self.most_idle {
            inner.evict_oldest();
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
            !shelf.idle.is_empty() || !shelf.waiting.is_empty()
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
