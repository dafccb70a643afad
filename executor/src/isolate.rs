//! The engine over locked-down processes of our own: no Docker, and a fresh process for every call all the same. What
//! such a process is and what walls it in is the crate `dynamic-mcp-isolate`; here is the broker, its other side.
//!
//! ```text
//! nursery ── keeps a zygote ──▶ spares ── keep children that are ready ──┐
//! prepare ── kept::take ─┐                                               │
//!            spares::take┴◀──────────────────────────────────────────────┘
//!            └─▶ PreparedCall ── run ──┬─ reusable, isolation: tool ─▶ kept::put_back
//!                                      └─ anything else ─▶ drop ─▶ undertaker ─▶ gone
//! ```
//!
//! Every byte that a child says may be hostile; what a zygote says is ours.

mod call;
mod child;
pub mod config;
mod engine;
mod judge;
mod memory;
mod nursery;
mod pace;
mod spares;
mod spawner;
mod undertaker;
mod zygote;

pub use config::IsolateConfig;
pub use dynamic_mcp_isolate::enter;
pub use dynamic_mcp_isolate::walls::{Finding, Tier, Wall};
pub use engine::IsolateEngine;
pub use nursery::StartError;
