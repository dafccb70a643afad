//! Tells the others of the executors that have joined here.

use std::time::Duration;

use tokio::sync::watch;

use super::store::Store;
use crate::scheduler::fleet::Fleet;

/// What comes within it is told together.
const GATHERED: Duration = Duration::from_millis(20);
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
        tell(fleet, store).await;
    }
}

/// What could not be told is left to the next heartbeats, and what is not taken back ends by itself.
async fn tell(fleet: &Fleet, store: &Store) {
    let news = fleet.news();
    for told in news.heard.chunks(AT_ONCE) {
        if let Err(error) = store.announce(told).await {
            tracing::debug!(%error, "other replicas were not told of executors");
            return;
        }
    }
    for (id, epoch) in &news.departed {
        if let Err(error) = store.withdraw(id, *epoch).await {
            tracing::debug!(%error, executor.id = %id, "other replicas were not told that an executor is gone");
            return;
        }
    }
}
