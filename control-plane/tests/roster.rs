//! What replicas know of executors together, over a Redis of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "roster/fence.rs"]
mod fence;
#[path = "roster/loss.rs"]
mod loss;
#[path = "roster/rig.rs"]
mod rig;
#[path = "redis/server.rs"]
#[expect(dead_code, reason = "others of its users do more with it")]
mod server;
#[path = "roster/shared.rs"]
mod shared;
