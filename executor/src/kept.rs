//! Sandboxes that stay with their tool between calls (`isolation: tool`), whatever engine they are of. The key holds
//! everything that could tell two tools apart, so that a sandbox never serves another tenant, tool or revision. The hash
//! alone would not do: a tool that is deleted and made anew with the same code must not find what its first life left
//! behind.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::content::ContentHash;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Isolation, Job, Placement, RejectReason, Rejection, Runtime};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::metric_names;

/// How long a call waits for its tool's own sandboxes before it asks for another one.
const PATIENCE: Duration = Duration::from_millis(5);

/// Sandboxes that stay with their tool between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptConfig {
    /// Calls after which a sandbox is replaced.
    pub max_uses: u32,
    /// How long one waits for its tool's next call.
    pub idle: Duration,
}

impl Default for KeptConfig {
    fn default() -> Self {
        Self {
            max_uses: 1_000,
            idle: Duration::from_secs(60),
        }
    }
}

/// What can wait for its tool's next call.
pub trait Keepable: Send + 'static {
    /// Whether its time is over, however well it is.
    fn too_old(&self) -> bool;

    /// Throws away what it said since the last call. Whether it can take another one; never waits.
    fn is_quiet(&mut self) -> bool;
}

/// `Shape`: what tells one sandbox from another beside the tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key<Shape> {
    pub tenant: TenantId,
    pub tool: Option<String>,
    pub content: ContentHash,
    pub revision: u64,
    pub shape: Shape,
}

impl<Shape: Clone> Key<Shape> {
    /// `None` for a job that keeps nothing.
    ///
    /// # Errors
    /// When the job wants to be kept and doesn't say under what.
    pub fn of(job: &Job, shape: &Shape) -> Result<Option<Arc<Self>>, Rejection> {
        match (job.isolation, &job.content_hash) {
            (Isolation::Call, _) => Ok(None),
            (Isolation::Tool, Some(content)) => Ok(Some(Arc::new(Key {
                tenant: job.tenant.clone(),
                tool: job.tool.clone(),
                content: content.clone(),
                revision: job.revision,
                shape: shape.clone(),
            }))),
            (Isolation::Tool, None) => Err(Rejection {
                reason: RejectReason::Unsupported,
                message: "isolation \"tool\" needs the content hash of a stored tool".to_owned(),
            }),
        }
    }
}

/// A sandbox that is, or will be, its tool's own.
pub struct Resident<Shape: Eq + Hash, Sandbox> {
    pub sandbox: Sandbox,
    pub uses: u32,
    idle_since: Instant,
    /// Of a tool that keeps its sandboxes, while a call has this one.
    busy: Option<Busy<Shape, Sandbox>>,
}

impl<Shape: Eq + Hash, Sandbox> Resident<Shape, Sandbox> {
    pub fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            uses: 0,
            idle_since: Instant::now(),
            busy: None,
        }
    }
}

/// Counts a sandbox as one that its tool may wait for, for as long as that is true, however its call ends.
struct Busy<Shape: Eq + Hash, Sandbox> {
    shelves: Arc<KeptShelves<Shape, Sandbox>>,
    key: Arc<Key<Shape>>,
}

impl<Shape: Eq + Hash, Sandbox> Drop for Busy<Shape, Sandbox> {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelves.inner.lock().shelves.get_mut(&self.key) {
            shelf.busy = shelf.busy.saturating_sub(1);
        }
    }
}

pub struct KeptShelves<Shape: Eq + Hash, Sandbox> {
    config: KeptConfig,
    /// Of all tools together.
    most_idle: usize,
    runtime: Runtime,
    inner: Mutex<Inner<Shape, Sandbox>>,
}

struct Inner<Shape: Eq + Hash, Sandbox> {
    shelves: HashMap<Key<Shape>, Shelf<Shape, Sandbox>>,
    idle: usize,
}

impl<Shape: Eq + Hash, Sandbox> Default for Inner<Shape, Sandbox> {
    fn default() -> Self {
        Self {
            shelves: HashMap::new(),
            idle: 0,
        }
    }
}

struct Shelf<Shape: Eq + Hash, Sandbox> {
    idle: Vec<Resident<Shape, Sandbox>>,
    /// In a call now, or promised to one.
    busy: usize,
    waiting: VecDeque<oneshot::Sender<Resident<Shape, Sandbox>>>,
}

impl<Shape: Eq + Hash, Sandbox> Default for Shelf<Shape, Sandbox> {
    fn default() -> Self {
        Self {
            idle: Vec::new(),
            busy: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl<Shape, Sandbox> KeptShelves<Shape, Sandbox>
where
    Shape: Clone + Eq + Hash + Send + Sync + 'static,
    Sandbox: Keepable,
{
    pub fn new(config: KeptConfig, most_idle: usize, runtime: Runtime) -> Self {
        Self {
            config,
            most_idle,
            runtime,
            inner: Mutex::default(),
        }
    }

    /// One of the tool's own, or `fresh` made its own.
    ///
    /// # Errors
    /// Those of `fresh`, which is not asked for as long as one of the tool's own will do.
    pub async fn take_or<E>(
        self: &Arc<Self>,
        key: &Arc<Key<Shape>>,
        fresh: impl Future<Output = Result<(Resident<Shape, Sandbox>, Placement), E>>,
    ) -> Result<(Resident<Shape, Sandbox>, Placement), E> {
        if let Some(resident) = self.take(key) {
            return Ok((resident, Placement::Kept));
        }
        let adopted = async {
            let (mut resident, placement) = fresh.await?;
            self.adopt(key, &mut resident);
            Ok((resident, placement))
        };
        let Some(mut next) = self.next(key) else {
            return adopted.await;
        };
        // Most calls are short: one sandbox that is busy for a moment serves better than two on the same cores.
        if let Ok(Ok(resident)) = timeout(PATIENCE, &mut next).await {
            return Ok((resident, Placement::Kept));
        }
        tokio::select! {
            biased;
            Ok(resident) = next => Ok((resident, Placement::Kept)),
            made = adopted => made,
        }
    }

    /// The one that was used last, so that the others can grow idle and go.
    fn take(self: &Arc<Self>, key: &Arc<Key<Shape>>) -> Option<Resident<Shape, Sandbox>> {
        let mut resident = self.take_idle(key)?;
        resident.busy = Some(self.busy(key));
        Some(resident)
    }

    /// Makes a sandbox the tool's own.
    pub fn adopt(self: &Arc<Self>, key: &Arc<Key<Shape>>, resident: &mut Resident<Shape, Sandbox>) {
        let mut inner = self.inner.lock();
        inner.shelves.entry(Key::clone(key)).or_default().busy += 1;
        resident.busy = Some(self.busy(key));
    }

    /// The next one of the tool that comes back from a call; `None` when none is in one.
    fn next(&self, key: &Key<Shape>) -> Option<oneshot::Receiver<Resident<Shape, Sandbox>>> {
        let mut inner = self.inner.lock();
        let shelf = inner.shelves.get_mut(key).filter(|shelf| shelf.busy > 0)?;
        let (sender, next) = oneshot::channel();
        shelf.waiting.push_back(sender);
        Some(next)
    }

    /// After a call that left it usable.
    pub fn put_back(&self, mut resident: Resident<Shape, Sandbox>) {
        if resident.uses >= self.config.max_uses || resident.sandbox.too_old() {
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
        // Not until now: a shelf without any sandbox is put away.
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

    fn hand_over(
        &self,
        mut resident: Resident<Shape, Sandbox>,
        busy: Busy<Shape, Sandbox>,
    ) -> Option<(Resident<Shape, Sandbox>, Busy<Shape, Sandbox>)> {
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

    fn take_idle(&self, key: &Key<Shape>) -> Option<Resident<Shape, Sandbox>> {
        let mut inner = self.inner.lock();
        let Inner { shelves, idle } = &mut *inner;
        let shelf = shelves.get_mut(key)?;
        while let Some(mut resident) = shelf.idle.pop() {
            *idle -= 1;
            if !resident.sandbox.too_old() && resident.sandbox.is_quiet() {
                shelf.busy += 1;
                return Some(resident);
            }
        }
        None
    }

    fn busy(self: &Arc<Self>, key: &Arc<Key<Shape>>) -> Busy<Shape, Sandbox> {
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
        metrics::gauge!(metric_names::KEPT_IDLE, "runtime" => self.runtime.as_str()).set(*idle as f64);
    }

    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
    }
}

impl<Shape: Eq + Hash, Sandbox> Inner<Shape, Sandbox> {
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
