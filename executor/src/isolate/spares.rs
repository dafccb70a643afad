//! Children that wait for a call, so that no call waits for a fork.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::job::Placement;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::Child;
use super::nursery::Nursery;
use super::undertaker::Undertaker;
use crate::kept::Keepable as _;

/// For a child to be made, a zygote to be replaced meanwhile included.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Spares {
    nursery: Arc<Nursery>,
    undertaker: Undertaker,
    most: usize,
    inner: Mutex<Inner>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Inner {
    ready: VecDeque<Child>,
    waiting: VecDeque<oneshot::Sender<Result<Child, String>>>,
    making: usize,
}

impl Spares {
    pub fn new(
        nursery: Arc<Nursery>,
        undertaker: Undertaker,
        most: u32,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            nursery,
            undertaker,
            most: most as usize,
            inner: Mutex::default(),
            tasks,
            stop,
        })
    }

    /// # Errors
    /// Why there is none to be had.
    pub async fn take(self: &Arc<Self>) -> Result<(Child, Placement), String> {
        let (found, stale) = self.take_ready();
        drop(stale);
        if let Some(child) = found {
            self.fill();
            return Ok((child, Placement::Warm));
        }
        let (sender, made) = oneshot::channel();
        self.inner.lock().waiting.push_back(sender);
        self.fill();
        let made = made
            .await
            .unwrap_or_else(|_| Err("the engine is stopping".to_owned()));
        made.map(|child| (child, Placement::Cold))
    }

    /// One that nothing was sent to.
    pub fn give_back(&self, child: Child) {
        self.hand_on(child);
    }

    pub fn count(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Puts those of a retired zygote away, and makes what is missing.
    pub fn tend(self: &Arc<Self>) {
        let stale: Vec<Child> = {
            let mut inner = self.inner.lock();
            let (fresh, stale) = std::mem::take(&mut inner.ready)
                .into_iter()
                .partition(|child| !child.zygote.is_retired());
            inner.ready = fresh;
            Vec::from(stale)
        };
        drop(stale);
        self.fill();
    }

    pub fn clear(&self) {
        let (ready, waiting) = {
            let mut inner = self.inner.lock();
            (
                std::mem::take(&mut inner.ready),
                std::mem::take(&mut inner.waiting),
            )
        };
        drop((ready, waiting));
    }

    /// Children are dropped outside of the lock: their end is somebody else's work.
    fn take_ready(&self) -> (Option<Child>, Vec<Child>) {
        let mut inner = self.inner.lock();
        let mut stale = Vec::new();
        while let Some(mut child) = inner.ready.pop_front() {
            if !child.too_old() && child.is_quiet() {
                return (Some(child), stale);
            }
            stale.push(child);
        }
        (None, stale)
    }

    fn fill(self: &Arc<Self>) {
        if self.stop.is_cancelled() {
            return;
        }
        let missing = {
            let mut inner = self.inner.lock();
            let wanted = self.most + inner.waiting.len();
            let missing = wanted.saturating_sub(inner.ready.len() + inner.making);
            inner.making += missing;
            missing
        };
        for _ in 0..missing {
            let spares = Arc::clone(self);
            self.tasks.spawn(async move { spares.make_one().await });
        }
    }

    async fn make_one(self: Arc<Self>) {
        let made = tokio::select! {
            made = self.make() => made,
            () = self.stop.cancelled() => Err("the engine is stopping".to_owned()),
        };
        self.inner.lock().making -= 1;
        match made {
            Ok(child) => self.hand_on(child),
            Err(why) => {
                let waiting = self.inner.lock().waiting.pop_front();
                if let Some(waiting) = waiting {
                    let _given_up = waiting.send(Err(why));
                }
            }
        }
    }

    async fn make(&self) -> Result<Child, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let zygote = timeout_at(until, self.nursery.zygote());
            let zygote = zygote.await.map_err(|_| self.nursery.why_not())??;
            match Child::make(Arc::clone(&zygote), self.undertaker.clone()).await {
                Ok(child) => return Ok(child),
                Err(error) if zygote.is_retired() && Instant::now() < until => {
                    tracing::debug!(%error, "a child was lost with its zygote; another one is made");
                }
                Err(error) => return Err(format!("no sandbox could be made: {error}")),
            }
        }
    }

    fn hand_on(&self, mut child: Child) {
        let mut inner = self.inner.lock();
        while let Some(waiting) = inner.waiting.pop_front() {
            match waiting.send(Ok(child)) {
                Ok(()) => return,
                Err(Ok(unwanted)) => child = unwanted,
                Err(Err(_)) => return,
            }
        }
        if inner.ready.len() < self.most && !self.stop.is_cancelled() {
            inner.ready.push_back(child);
        } else {
            drop(inner);
            drop(child);
        }
    }
}
