//! Sees that every child that nobody holds any more really ends. A zygote that doesn't confirm it in time is ended itself,
//! and takes what is left along.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::zygote::{Ended, Zygote};
use crate::metric_names;

/// For a child that ends by itself.
const BY_ITSELF: Duration = Duration::from_millis(250);
/// For the kill of a child to be confirmed. A zygote that does not get round to it on a crowded machine must not be taken for
/// one that has stalled: other tenants' calls would be ended with it.
const CONFIRM: Duration = Duration::from_secs(3);

/// A child that is to be gone.
pub struct Condemned {
    pub zygote: Arc<Zygote>,
    pub id: u64,
    pub ended: Ended,
    /// It may end by itself first.
    pub leaving: bool,
}

/// Ends when all of these are dropped, and everything handed to it is gone.
#[derive(Clone)]
pub struct Undertaker(mpsc::UnboundedSender<Condemned>);

impl Undertaker {
    pub fn start(tasks: &TaskTracker) -> Self {
        // Bounded by the children that there are.
        let (sender, mut inbox) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            let mut burials = JoinSet::new();
            loop {
                tokio::select! {
                    condemned = inbox.recv() => match condemned {
                        Some(condemned) => { burials.spawn(bury(condemned)); }
                        None => break,
                    },
                    Some(_) = burials.join_next() => {}
                }
            }
            while burials.join_next().await.is_some() {}
        });
        Self(sender)
    }

    pub fn see_to(&self, condemned: Condemned) {
        // Without a task there is no runtime any more, and the zygote's own end takes the child along.
        let _no_runtime = self.0.send(condemned);
    }
}

async fn bury(condemned: Condemned) {
    let Condemned {
        zygote,
        id,
        mut ended,
        leaving,
    } = condemned;
    if leaving && timeout(BY_ITSELF, &mut ended).await.is_ok() {
        return;
    }
    zygote.kill_child(id);
    if timeout(CONFIRM, ended).await.is_err() {
        metrics::counter!(metric_names::ZYGOTES_STALLED_TOTAL).increment(1);
        tracing::warn!("a zygote did not end a child in time; it is ended with all its children");
        zygote.end(None);
    }
}
