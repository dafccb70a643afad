//! Containers that wait with Node.js already booted, so that a call finds one without asking the Engine.
//!
//! There is a shelf for each shape. A call takes an idle container, or waits for the next one that becomes ready,
//! whoever it was begun for. A shelf that was found empty grows, one that stays full shrinks. The Engine makes only a
//! few containers a second whatever we do, so makers are few, and fewer still when nobody waits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::job::Placement;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::config::PoolConfig;
use super::container::{Container, Maker};
use super::policy::SandboxShape;
use crate::kept::Keepable as _;
use crate::metric_names;

/// Makers at once when calls wait: where the Engine's throughput stops growing.
const MAKERS: usize = 8;
/// Makers at once that only fill up: they share the cores with the calls that run.
const BACKGROUND_MAKERS: usize = 2;
/// Making a container takes both cores: the call that took the last one goes first.
const COURTESY: Duration = Duration::from_millis(30);
/// How long a call waits for a container before it is told to go elsewhere.
const WAIT: Duration = Duration::from_secs(30);
/// How long the end of the process waits for containers that are being made.
const CLOSE: Duration = Duration::from_secs(10);
const SHRINK_EVERY: Duration = Duration::from_secs(30);
/// A shelf that not every call may use is put away after this long without a call.
const FORGET_AFTER: Duration = Duration::from_secs(300);
const MAX_BACKOFF: Duration = Duration::from_secs(15);

pub struct Pool {
    maker: Maker,
    config: PoolConfig,
    clock: Arc<dyn Clock>,
    /// Bounds all containers of this process together, those that are still to be removed included.
    room: Arc<Semaphore>,
    makers: Semaphore,
    shelves: Mutex<HashMap<SandboxShape, Shelf>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shelf {
    idle: VecDeque<Container>,
    waiting: VecDeque<oneshot::Sender<Result<Container, String>>>,
    making: usize,
    floor: usize,
    target: usize,
    /// The fewest that were idle since the last look: so many were never needed.
    least_idle: usize,
    looked: Instant,
    used: Instant,
    failures: u32,
    not_before: Instant,
}

impl Shelf {
    fn new(floor: usize) -> Self {
        let now = Instant::now();
        Self {
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            making: 0,
            floor,
            target: floor,
            least_idle: 0,
            looked: now,
            used: now,
            failures: 0,
            not_before: now,
        }
    }

    fn take_idle(&mut self) -> Option<Container> {
        self.used = Instant::now();
        let mut found = None;
        while let Some(mut container) = self.idle.pop_front() {
            if !container.too_old() && container.is_quiet() {
                found = Some(container);
                break;
            }
        }
        self.least_idle = self.least_idle.min(self.idle.len());
        found
    }

    /// Hands a container to whoever waits longest, or keeps it; one too many is let go.
    fn put(&mut self, mut container: Container, ceiling: usize) {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(Ok(container)) {
                Ok(()) => return,
                Err(back) => match back {
                    Ok(unwanted) => container = unwanted,
                    Err(_) => return,
                },
            }
        }
        if self.idle.len() < ceiling {
            self.idle.push_back(container);
        }
    }

    fn makers_wanted(&mut self) -> usize {
        self.waiting.retain(|waiting| !waiting.is_closed());
        let missing = self.target.saturating_sub(self.idle.len());
        if !self.waiting.is_empty() {
            (self.waiting.len() + missing).min(MAKERS)
        } else if Instant::now() < self.not_before {
            0
        } else {
            missing.min(BACKGROUND_MAKERS)
        }
    }

    fn shrink(&mut self) {
        if self.looked.elapsed() < SHRINK_EVERY {
            return;
        }
        let unused = self.least_idle.min(self.idle.len());
        self.target = self.target.saturating_sub(unused.div_ceil(2)).max(self.floor);
        let surplus = self.idle.len().saturating_sub(self.target);
        self.idle.drain(..surplus);
        self.least_idle = self.idle.len();
        self.looked = Instant::now();
    }
}

impl Pool {
    pub fn new(
        maker: Maker,
        config: PoolConfig,
        clock: Arc<dyn Clock>,
        room: usize,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            maker,
            config,
            clock,
            room: Arc::new(Semaphore::new(room)),
            makers: Semaphore::new(MAKERS),
            shelves: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        })
    }

    /// Begins to fill the shelf of an image.
    pub fn open(self: &Arc<Self>, image: &str) {
        let shape = SandboxShape {
            image: image.to_owned(),
            dependencies: None,
            memory: None,
        };
        self.shelf(&mut self.shelves.lock(), &shape);
        self.refill(&shape);
    }

    /// # Errors
    /// Why there is none, in words for a person.
    pub async fn take(self: &Arc<Self>, shape: &SandboxShape) -> Result<(Container, Placement), String> {
        if let Some(container) = self.take_idle(shape) {
            self.refill(shape);
            return Ok((container, Placement::Warm));
        }
        let ready = self.wait_in_line(shape);
        self.refill(shape);
        match timeout(WAIT, ready).await {
            Ok(Ok(made)) => made.map(|container| (container, Placement::Cold)),
            Ok(Err(_)) => Err("the executor is shutting down".to_owned()),
            Err(_) => Err(format!("no sandbox became ready within {} s", WAIT.as_secs())),
        }
    }

    /// For a container in which no code has run.
    pub fn give_back(self: &Arc<Self>, container: Container) {
        let shape = container.shape.clone();
        let ceiling = self.config.ceiling as usize;
        self.shelf(&mut self.shelves.lock(), &shape)
            .put(container, ceiling);
    }

    pub fn warm(&self, image: &str) -> usize {
        let shelves = self.shelves.lock();
        let of_image = shelves.iter().filter(|(shape, _)| shape.image == image);
        of_image.map(|(_, shelf)| shelf.idle.len()).sum()
    }

    /// Nobody waits for an engine that doesn't answer.
    pub fn refuse_all(&self, why: &str) {
        for shelf in self.shelves.lock().values_mut() {
            for waiting in shelf.waiting.drain(..) {
                // Who is gone doesn't need to know.
                let _ = waiting.send(Err(why.to_owned()));
            }
        }
    }

    /// Replaces what is too old or has ended, shrinks what is not used, tries again what failed.
    pub fn tend(self: &Arc<Self>) {
        let mut shapes = Vec::new();
        {
            let mut shelves = self.shelves.lock();
            shelves.retain(|shape, shelf| {
                shape.is_common()
                    || shelf.used.elapsed() < FORGET_AFTER
                    || shelf.making > 0
                    || !shelf.waiting.is_empty()
            });
            for (shape, shelf) in shelves.iter_mut() {
                shelf
                    .idle
                    .retain_mut(|container| !container.too_old() && container.is_quiet());
                shelf.shrink();
                shapes.push(shape.clone());
            }
        }
        for shape in shapes {
            self.refill(&shape);
        }
    }

    /// Makes no more, and gives up everything that is idle. Afterwards the janitor knows of all that is left, unless
    /// the Engine hangs.
    pub async fn close(&self) {
        self.stop.cancel();
        self.refuse_all("the executor is shutting down");
        self.tasks.close();
        if timeout(CLOSE, self.tasks.wait()).await.is_err() {
            tracing::warn!("containers that were being made are left to the next start");
        }
        self.shelves.lock().clear();
    }

    fn take_idle(&self, shape: &SandboxShape) -> Option<Container> {
        self.shelf(&mut self.shelves.lock(), shape).take_idle()
    }

    fn wait_in_line(&self, shape: &SandboxShape) -> oneshot::Receiver<Result<Container, String>> {
        let (sender, ready) = oneshot::channel();
        let mut shelves = self.shelves.lock();
        let shelf = self.shelf(&mut shelves, shape);
        let ceiling = self.config.ceiling as usize;
        shelf.target = (shelf.target * 2).max(1).min(ceiling);
        shelf.waiting.push_back(sender);
        ready
    }

    fn shelf<'a>(
        &self,
        shelves: &'a mut HashMap<SandboxShape, Shelf>,
        shape: &SandboxShape,
    ) -> &'a mut Shelf {
        // Packages are of one tool, a limit is of one tenant: the first call shows that there is a demand at all.
        let floor = if shape.is_common() {
            self.config.floor as usize
        } else {
            0
        };
        if !shelves.contains_key(shape) {
            shelves.insert(shape.clone(), Shelf::new(floor));
        }
        shelves.entry(shape.clone()).or_insert_with(|| Shelf::new(floor))
    }

    fn refill(self: &Arc<Self>, shape: &SandboxShape) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut shelves = self.shelves.lock();
        let Some(shelf) = shelves.get_mut(shape) else {
            return;
        };
        metrics::gauge!(metric_names::POOL_WARM, "image" => shape.image.clone()).set(shelf.idle.len() as f64);
        let wanted = shelf.makers_wanted();
        let hurry = !shelf.waiting.is_empty();
        while shelf.making < wanted {
            shelf.making += 1;
            let make = Arc::clone(self).make_one(shape.clone(), hurry);
            self.tasks.spawn(make.in_current_span());
        }
    }

    async fn make_one(self: Arc<Self>, shape: SandboxShape, hurry: bool) {
        if !hurry {
            sleep(COURTESY).await;
        }
        let made = self.make(&shape).await;
        {
            let mut shelves = self.shelves.lock();
            let shelf = self.shelf(&mut shelves, &shape);
            shelf.making = shelf.making.saturating_sub(1);
            match made {
                Ok(container) => {
                    shelf.failures = 0;
                    shelf.put(container, self.config.ceiling as usize);
                }
                Err(_) if self.stop.is_cancelled() => return,
                Err(why) => fail(shelf, &shape, &why),
            }
        }
        self.refill(&shape);
    }

    async fn make(&self, shape: &SandboxShape) -> Result<Container, String> {
        let (Ok(_turn), Ok(room)) = (
            self.makers.acquire().await,
            Arc::clone(&self.room).acquire_owned().await,
        ) else {
            return Err("the executor is shutting down".to_owned());
        };
        let made = self.maker.make(shape.clone(), room, self.clock.now()).await;
        made.map_err(|error| error.to_string())
    }
}

/// One failure is one call's: the next maker may do better.
fn fail(shelf: &mut Shelf, shape: &SandboxShape, why: &str) {
    shelf.failures = shelf.failures.saturating_add(1);
    let backoff = Duration::from_secs(1 << shelf.failures.min(4)).min(MAX_BACKOFF);
    shelf.not_before = Instant::now() + backoff;
    tracing::warn!(image = %shape.image, error = why, failures = shelf.failures, "a sandbox could not be made");
    while let Some(waiting) = shelf.waiting.pop_front() {
        if waiting.send(Err(why.to_owned())).is_ok() {
            return;
        }
    }
}
