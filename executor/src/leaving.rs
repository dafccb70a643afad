//! How an executor leaves when it is told to: it takes no new work, finishes what it has, and only then ends. A signal is
//! less patient, and gives what runs the grace time.

use dynamic_mcp_shared::lifecycle::Lifecycle;
use tokio::time::timeout;

use crate::capacity::Capacity;
use crate::sandbox::Sandboxes;

#[derive(Clone)]
pub struct Leaving {
    capacity: Capacity,
    sandboxes: Sandboxes,
    lifecycle: Lifecycle,
}

impl Leaving {
    pub fn new(capacity: Capacity, sandboxes: Sandboxes, lifecycle: Lifecycle) -> Self {
        Self {
            capacity,
            sandboxes,
            lifecycle,
        }
    }

    /// Answers whether that is news.
    pub fn begin(&self, reason: &str) -> bool {
        if !self.capacity.drain() {
            return false;
        }
        self.sandboxes.drain();
        tracing::info!(
            reason,
            "asked to leave: no new jobs, and the end when the last one has ended"
        );
        let Self {
            capacity,
            sandboxes,
            lifecycle,
        } = self.clone();
        self.lifecycle.spawn(async move {
            let soft = lifecycle.soft().clone();
            let ended = async {
                // A session may stay for hours, and be in use without a pause: its owner has the grace time to take what
                // is in it. What runs in it then ends with it.
                let sessions = timeout(lifecycle.grace(), sandboxes.gone());
                let (_still_there, ()) = tokio::join!(sessions, capacity.slots_idle());
            };
            tokio::select! {
                () = ended => lifecycle.begin_shutdown(),
                () = soft.cancelled() => {}
            }
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use dynamic_mcp_shared::clock::SystemClock;
    use dynamic_mcp_shared::ids::JobId;

    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::sandbox::SandboxLimits;

    #[tokio::test]
    async fn who_is_told_to_leave_finishes_what_it_has_and_ends_once() {
        let capacity = Capacity::new(1);
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let engine = Arc::new(FakeEngine::willing());
        let sandboxes = Sandboxes::new(engine, Arc::new(SystemClock), 1, SandboxLimits::default());
        let leaving = Leaving::new(capacity.clone(), sandboxes, lifecycle.clone());
        let job = capacity.admit(&JobId::generate()).unwrap();
        assert!(leaving.begin("maintenance"));
        assert!(!leaving.begin("maintenance"));
        tokio::task::yield_now().await;
        assert!(!lifecycle.soft().is_cancelled(), "a job runs");
        drop(job);
        lifecycle.soft().cancelled().await;
        assert!(lifecycle.finish().await);
    }
}
