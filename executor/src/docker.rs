//! The engine over Docker. Nothing of Docker's own types leaves this module.

pub mod client;
pub mod config;
pub mod labels;
