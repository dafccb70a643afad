//! Leases, placement, retries and the directory of sessions on virtual time, in one thread, from one seed: replicas,
//! executors and Redis come and go, and what must hold is checked at each step.
//!
//! What decides is the product's own code: the scripts of the guard and of the directory in the Lua that Redis has
//! (`scripts`, on a `keyspace` that is held against a real Redis), the fleet's table with placement, the retry rule, an
//! executor's admission. What carries it out is modelled: `world` says for each part what it stands for.
//!
//! A failure names its seed. `DYNAMIC_MCP_SIMULATION_SEED` runs that one alone and prints its story;
//! `DYNAMIC_MCP_SIMULATION_SEEDS` says how many are gone through.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test's helpers fail by panicking too, and tell what they found"
)]

mod differential;
mod kernel;
mod keyspace;
mod network;
mod plan;
mod planted;
mod runs;
mod scripts;
mod sessions;
mod truth;
mod world;
