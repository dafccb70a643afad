//! `soak [minutes] [seed]`: mixed work on a cluster, a random fault every twenty seconds, and a look at what is left. It ends
//! with success when every call has one outcome on record and nothing is left. `SOAK_DOCKER=no` leaves containers out.
//!
//! `cargo build --workspace --bins && eval "$(scripts/services)" && target/debug/soak 10`

use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::soak::Soak;

const MINUTES: f64 = 10.0;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let minutes = match arguments.next() {
        Some(minutes) => minutes.parse().context("minutes: a number")?,
        None => MINUTES,
    };
    let seed = match arguments.next() {
        Some(seed) => seed.parse().context("seed: a whole number")?,
        None => SystemClock.now().timestamp().unsigned_abs(),
    };
    let without_docker = std::env::var("SOAK_DOCKER").is_ok_and(|value| value == "no");
    let first = if without_docker { On::Isolate } else { On::Docker };
    let soak = Soak {
        length: Duration::try_from_secs_f64(minutes * 60.0)?,
        fault_every: Duration::from_secs(20),
        seed,
        executors: vec![first, On::Isolate, On::Isolate, On::Isolate],
    };
    soak.run().await
}
