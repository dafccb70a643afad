//! Tells the others of the executors that have joined here.

use std::time::Duration;

use dynamic_mcp_shared::ids::ExecutorId;
use tokio::sync::watch;

use super::store::Store;
use crate::scheduler::fleet::{Fleet, News, Told};

/// What comes within it is told together.
const GATHERED: Duration = Duration::from_millis(20);
/// After which it is tried again to tell what could not be told.
const AGAIN: Duration = Duration::from_millis(100);
/// How many executors one script writes: it is alone in Redis for as long as it runs.
const AT_ONCE: usize = 200;

pub(super) async fn announce(fleet: &Fleet, store: &Store, mut up: watch::Receiver<bool>) {
    fleet.tell_all();
    loop {
        tokio::select! {
            () = fleet.something_to_tell() => {}
            // It may have lost all that it knew.
            Ok(()) = up.changed() => fleet.tell_all(),
        }
        tokio::time::sleep(GATHERED).await;
        let News { heard, departed } = fleet.news();
        tell_heard(&heard, store).await;
        let untold = tell_departed(departed, fleet, store).await;
        if !untold.is_empty() {
            tokio::time::sleep(AGAIN).await;
            fleet.tell_departed_again(untold);
        }
    }
}

/// What could not be told is left to the next heartbeats.
async fn tell_heard(heard: &[Told], store: &Store) {
    for told in heard.chunks(AT_ONCE) {
        if let Err(error) = store.announce(told).await {
            tracing::debug!(%error, "other replicas were not told of executors");
            return;
        }
    }
}

/// Answers those of which others could not be told: nothing says later that they are gone.
async fn tell_departed(
    departed: Vec<(ExecutorId, u64)>,
    fleet: &Fleet,
    store: &Store,
) -> Vec<(ExecutorId, u64)> {
    for (at, (id, epoch)) in departed.iter().enumerate() {
        match store.withdraw(id, *epoch).await {
            // What others said of it lately was before they took it back.
            Ok(true) => fleet.gone(id, *epoch),
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, executor.id = %id, "other replicas were not told that an executor is gone");
                return departed[at..].to_vec();
            }
        }
    }
    Vec::new()
}
