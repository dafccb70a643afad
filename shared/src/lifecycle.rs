//! Shutdown in two steps: the soft token says "take no new work and finish", the hard one "stop now".
//!
//! ```text
//! running ──first signal──▶ draining ──all tasks done──▶ stopped
//!                              │
//!                              └─second signal or grace time over──▶ aborting ──▶ stopped
//! ```

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

/// Tasks belong to somebody: whoever holds the lifecycle can stop them and wait for them.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
    ends: Arc<Ends>,
}

/// Counted once, however often it is waited for.
#[derive(Debug, Default)]
struct Ends {
    grace: OnceLock<Instant>,
    last_words: OnceLock<Instant>,
}

/// How long tasks get to end once they were told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Lifecycle {
    /// `grace`: how long running work gets between the soft and the hard token.
    pub fn new(grace: Duration) -> Self {
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: TaskTracker::new(),
            grace,
            ends: Arc::default(),
        }
    }

    /// Cancelled when no new work may begin.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when running work must stop.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Runs a task in the current span that [`Self::finish`] waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task.in_current_span())
    }

    /// What [`Self::finish`] waits for until it is dropped, without being a task of its own.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    pub fn begin_shutdown(&self) {
        self.soft.cancel();
    }

    /// Turns SIGTERM and SIGINT into the soft token, a second one into the hard token.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn watch_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        // Not tracked: it waits for a signal that may never come, and holds nothing that needs an orderly end.
        #[expect(clippy::disallowed_methods, reason = "ends with the process")]
        tokio::spawn(async move {
            for token in [soft, hard] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "shutting down");
                token.cancel();
            }
        });
        Ok(())
    }

    /// Waits for the soft token, then for the tasks, at most for the grace time; then cancels the hard token
    /// and waits a little longer. Answers whether every task ended.
    pub async fn finish(&self) -> bool {
        self.soft.cancelled().await;
        self.tasks.close();
        let over = *self.ends.grace.get_or_init(|| Instant::now() + self.grace);
        tokio::select! {
            () = self.tasks.wait() => return true,
            () = tokio::time::sleep_until(over) => {
                tracing::warn!(tasks = self.tasks.len(), "the grace time is over: what still runs is ended");
            }
            () = self.hard.cancelled() => {}
        }
        self.hard.cancel();
        let last = self.ends.last_words.get_or_init(|| Instant::now() + LAST_WORDS);
        tokio::time::timeout_at(*last, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_within_the_grace_time_is_not_aborted() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        lifecycle.spawn(tokio::time::sleep(Duration::from_secs(5)));
        lifecycle.begin_shutdown();
        assert!(lifecycle.finish().await);
        assert!(!lifecycle.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_outlasts_the_grace_time_is_aborted() {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let hard = lifecycle.hard().clone();
        lifecycle.spawn(async move { hard.cancelled().await });
        lifecycle.begin_shutdown();
        assert!(lifecycle.finish().await);
        assert!(lifecycle.hard().is_cancelled());
    }
}
