//! Makes a long call give way, so that one tenant's loops don't keep another's short calls waiting. The broker's clock
//! says when to look; the zygote knows what the child has had of the processor, and alone can make it give way.
//!
//! ```text
//! nice 5 ── 50 ms, and of these 25 of the processor ──▶ nice 19 and idle, for good: only a privileged process could
//!                                                       take it back
//! ```
//!
//! So a child that gave way is not kept for its tool's next call, which would be slow from the start. One that only
//! waits doesn't give way, however long its call.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::zygote::Zygote;

/// Until a child that has served before is looked at: most of its calls end sooner, and cost nothing.
const COUNT: Duration = Duration::from_millis(10);
const FIRST: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_millis(100);

/// Of one child, beside its calls.
pub struct Pace {
    pub zygote: Arc<Zygote>,
    pub id: u64,
    pub gave_way: Arc<AtomicBool>,
}

impl Pace {
    /// For one call. Never ends: whoever awaits something else drops it. `fresh`: the child has served no call yet.
    pub async fn keep(self, fresh: bool) -> Infallible {
        let mut waited = Duration::ZERO;
        if !fresh {
            sleep(COUNT).await;
            waited = COUNT;
            self.zygote.count_child(self.id);
        }
        sleep(FIRST.saturating_sub(waited)).await;
        while !self.gave_way.load(Ordering::Relaxed) {
            self.zygote.weigh_child(self.id);
            sleep(AGAIN).await;
        }
        pending().await
    }
}
