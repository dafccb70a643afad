//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// Tries until the check answers `Ok`, at most for `limit`; fails with what the last try said. Answers how long it took.
///
/// # Panics
/// When it does not become true in time.
pub async fn eventually<F, Fut, E>(limit: Duration, mut check: F) -> Duration
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let started = Instant::now();
    loop {
        let problem = match check().await {
            Ok(()) => return started.elapsed(),
            Err(problem) => problem,
        };
        assert!(started.elapsed() < limit, "not within {limit:?}: {problem}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
