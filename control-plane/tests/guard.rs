//! The guard: one suite of behaviours over that of one process and that of a fleet, then what only a fleet has, over Redis
//! servers of the tests' own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "guard/cluster.rs"]
mod cluster;
#[path = "guard/cost.rs"]
mod cost;
#[path = "guard/loss.rs"]
mod loss;
#[path = "guard/model.rs"]
mod model;
#[path = "redis/nodes.rs"]
mod nodes;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "guard/replicas.rs"]
mod replicas;
#[path = "guard/rig.rs"]
mod rig;
#[path = "redis/server.rs"]
mod server;
#[path = "guard/suite.rs"]
mod suite;
