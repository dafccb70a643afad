//! The Redis that replicas share, as servers of the tests' own: they are stalled, killed and started again here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/directory.rs"]
mod directory;
#[path = "redis/encrypted.rs"]
mod encrypted;
#[path = "redis/loss.rs"]
mod loss;
#[path = "redis/nodes.rs"]
mod nodes;
#[path = "redis/rig.rs"]
mod rig;
#[path = "redis/server.rs"]
mod server;
#[path = "redis/use_of_it.rs"]
mod use_of_it;
