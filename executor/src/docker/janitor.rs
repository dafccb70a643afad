//! Removes containers off everybody's path. Whoever is done with one says its name and goes on; what is still to be
//! removed is counted, so that sandboxes that die slowly are not forgotten when new ones are made.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::client::EngineClient;
use crate::metric_names;

/// Removals at once. More only queue up inside the Engine, and before the next create.
const REMOVALS: usize = 4;
/// Kills at once: quick, and what a caller whose call was ended waits for.
const KILLS: usize = 16;
const ATTEMPTS: u32 = 6;

/// A container that is to go. The permit is of the room that it takes up until then.
#[derive(Debug)]
pub struct Doomed {
    pub name: String,
    /// Its code may still be running.
    pub busy: bool,
    pub room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub struct Janitor {
    queue: mpsc::UnboundedSender<Doomed>,
    /// Every container that this process made and that may still be there.
    owned: Mutex<HashSet<String>>,
    pending: watch::Sender<usize>,
}

impl Janitor {
    pub fn start(client: Arc<EngineClient>, tasks: &TaskTracker, stop: CancellationToken) -> Arc<Self> {
        let (queue, doomed) = mpsc::unbounded_channel();
        let janitor = Arc::new(Self {
            queue,
            owned: Mutex::default(),
            pending: watch::Sender::new(0),
        });
        let work = work(Arc::clone(&janitor), client, doomed, tasks.clone(), stop);
        tasks.spawn(work.instrument(tracing::info_span!("janitor")));
        janitor
    }

    /// From now on a container of this name is somebody's.
    pub fn own(&self, name: &str) {
        self.owned.lock().insert(name.to_owned());
    }

    pub fn owns(&self, name: &str) -> bool {
        self.owned.lock().contains(name)
    }

    /// Never waits, so that a destructor can call it. The queue is bounded by the room that its entries hold.
    pub fn remove(&self, doomed: Doomed) {
        self.pending.send_modify(|pending| *pending += 1);
        if let Err(lost) = self.queue.send(doomed) {
            // After the end of this process's engine; the next start's reaper finds it.
            self.done(&lost.0.name);
        }
    }

    /// Waits until nothing is left to remove.
    pub async fn idle(&self) {
        let mut pending = self.pending.subscribe();
        // The sender is in `self`, so it can't be gone.
        let _ = pending.wait_for(|pending| *pending == 0).await;
    }

    pub fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    fn done(&self, name: &str) {
        self.owned.lock().remove(name);
        self.pending.send_modify(|pending| *pending -= 1);
    }
}

async fn work(
    janitor: Arc<Janitor>,
    client: Arc<EngineClient>,
    mut queue: mpsc::UnboundedReceiver<Doomed>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let removals = Arc::new(Semaphore::new(REMOVALS));
    let kills = Arc::new(Semaphore::new(KILLS));
    loop {
        let doomed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            doomed = queue.recv() => doomed,
        };
        let Some(doomed) = doomed else { return };
        let (janitor, client) = (Arc::clone(&janitor), Arc::clone(&client));
        let (removals, kills) = (Arc::clone(&removals), Arc::clone(&kills));
        let stop = stop.clone();
        let one = async move {
            let Doomed { name, busy, room } = doomed;
            tokio::select! {
                () = stop.cancelled() => {}
                () = remove_one(&client, &name, busy, &removals, &kills) => {}
            }
            drop(room);
            janitor.done(&name);
        };
        tasks.spawn(one.in_current_span());
    }
}

async fn remove_one(client: &EngineClient, name: &str, busy: bool, removals: &Semaphore, kills: &Semaphore) {
    if busy {
        let _turn = kills.acquire().await;
        if let Err(error) = client.kill(name).await {
            tracing::warn!(container = name, %error, "a sandbox could not be killed; it is removed next");
        }
    }
    let _turn = removals.acquire().await;
    let mut pause = Duration::from_millis(200);
    for attempt in 1..=ATTEMPTS {
        match client.remove(name).await {
            Ok(()) => {
                metrics::counter!(metric_names::CONTAINERS_REMOVED_TOTAL).increment(1);
                return;
            }
            // Somebody removes it already; ask again until it is gone.
            Err(error) if attempt < ATTEMPTS => {
                tracing::debug!(container = name, %error, attempt, "a container could not be removed yet");
            }
            Err(error) => {
                tracing::warn!(container = name, %error, "a container could not be removed; the reaper tries again");
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}
