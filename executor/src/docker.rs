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
pub(crate) mod conversation;
pub mod dependencies;
mod engine;
pub(crate) mod frames;
mod health;
mod images;
mod janitor;
pub mod labels;
pub(crate) mod outcome;
pub(crate) mod policy;
mod pool;
mod reaper;
mod session;

pub use engine::DockerEngine;
