//! How an executor leaves when it is told to: it takes no new work, finishes what it has, and only then ends. A signal is
//! less patient, and gives what runs the grace time.

use dynamic_mcp_shared::lifecycle::Lifecycle;

use crate::capacity::Capacity;

#[derive(Clone)]
pub struct Leaving {
    capacity: Capacity,
    lifecycle: Lifecycle,
}

impl Leaving {
    pub fn new(capacity: Capacity, lifecycle: Lifecycle) -> Self {
        Self { capacity, lifecycle }
    }

    /// Answers whether that is news.
    pub fn begin(&self, reason: &str) -> bool {
        if !self.capacity.drain() {
            return false;
        }
        tracing::info!(
            reason,
            "asked to leave: no new jobs, and the end when the last one has ended"
        );
        let (capacity, lifecycle) = (self.capacity.clone(), self.lifecycle.clone());
        self.lifecycle.spawn(async move {
            tokio::select! {
                () = capacity.idle() => lifecycle.begin_shutdown(),
                () = lifecycle.soft().cancelled() => {}
            }
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dynamic_mcp_shared::ids::JobId;

    use super::*;

    #[tokio::test]
    async fn who_is_told_to_leave_finishes_what_it_has_and_ends_once() {
        let capacity = Capacity::new(1);
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let leaving = Leaving::new(capacity.clone(), lifecycle.clone());
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
