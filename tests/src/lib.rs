//! Starts the product as a user would, as processes of their own, and talks to it over the wire. Nothing in here reaches
//! into the crates under test.

pub mod client;
pub mod docker;
pub mod eventually;
pub mod process;
pub mod server;
pub mod stdio;
