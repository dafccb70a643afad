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

#[cfg(target_os = "linux")]
mod call;
#[cfg(target_os = "linux")]
mod child;
pub mod config;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(target_os = "linux")]
mod judge;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod nursery;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod spares;
#[cfg(target_os = "linux")]
mod spawner;
#[cfg(target_os = "linux")]
mod undertaker;
#[cfg(target_os = "linux")]
mod zygote;

pub use config::IsolateConfig;
pub use dynamic_mcp_isolate::enter;
pub use dynamic_mcp_isolate::walls::{Finding, Tier, Wall};
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{IsolateEngine, StartError};
#[cfg(target_os = "linux")]
pub use engine::IsolateEngine;
#[cfg(target_os = "linux")]
pub use nursery::StartError;
