//! Starts the product as a user would, as processes of their own, and talks to it over the wire. Nothing in here reaches
//! into the crates under test; of the programs only the benchmark does, for what the executor's seam, a token and an audit entry
//! cost.

pub mod certificates;
pub mod client;
pub mod cluster;
pub mod compose;
pub mod database;
pub mod docker;
pub mod events;
pub mod eventually;
pub mod foreign;
pub mod issuer;
pub mod measured;
pub mod on;
pub mod process;
pub mod processes;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod resources;
pub mod round_robin;
pub mod running;
pub mod sandboxes;
pub mod server;
pub mod soak;
pub mod state;
pub mod stdio;
