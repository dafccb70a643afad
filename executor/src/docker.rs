//! The engine over Docker. Nothing of Docker's own types leaves this module.
//!
//! ```text
//! prepare ── kept::take ─┐                         ┌─ reusable, isolation: tool ─▶ kept::put_back
//!            pool::take ─┴─▶ PreparedCall ── run ──┤
//!                                                  └─ anything else ─▶ drop ─▶ janitor ─▶ removed
//! ```

mod call;
pub mod client;
pub mod config;
mod container;
pub mod dependencies;
mod engine;
mod frames;
mod health;
mod images;
mod janitor;
pub mod labels;
mod outcome;
mod policy;
mod pool;
mod reaper;

pub use engine::DockerEngine;
