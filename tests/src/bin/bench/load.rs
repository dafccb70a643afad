//! Calls, one by one or together, and how long each took.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;

use crate::wire::Connection;

#[derive(Debug, Default)]
pub struct Samples {
    sorted: Vec<Duration>,
    elapsed: Duration,
}

impl Samples {
    pub fn new(mut taken: Vec<Duration>, elapsed: Duration) -> Self {
        taken.sort_unstable();
        Self {
            sorted: taken,
            elapsed,
        }
    }

    /// To be put together with others.
    pub fn into_taken(self) -> Vec<Duration> {
        self.sorted
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest value that is not below that share of the samples.
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    pub fn p50(&self) -> Duration {
        self.percentile(0.5)
    }

    pub fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// `pause` between two calls, which does not count.
pub async fn one_by_one(
    connection: &mut Connection,
    request: &[u8],
    calls: usize,
    pause: Duration,
) -> Result<Samples> {
    let mut taken = Vec::with_capacity(calls);
    for _ in 0..calls {
        tokio::time::sleep(pause).await;
        let started = Instant::now();
        connection.call(request).await?;
        taken.push(started.elapsed());
    }
    let busy = taken.iter().sum();
    Ok(Samples::new(taken, busy))
}

/// That many clients, each with a connection of its own, each calling again as soon as it is answered.
pub async fn together(base_url: &str, request: &[u8], clients: usize, time: Duration) -> Result<Samples> {
    let started = Instant::now();
    let taken = try_join_all((0..clients).map(|_| async {
        let mut connection = Connection::open(base_url).await?;
        let mut taken = Vec::new();
        while started.elapsed() < time {
            let begun = Instant::now();
            connection.call(request).await?;
            taken.push(begun.elapsed());
        }
        anyhow::Ok(taken)
    }))
    .await?;
    Ok(Samples::new(taken.concat(), started.elapsed()))
}
