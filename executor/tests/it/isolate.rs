//! What only the engine over locked-down processes has: zygotes, and a language without Node.js around it.

mod absent;
mod care;
pub mod processes;
pub mod rig;
