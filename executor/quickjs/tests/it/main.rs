//! The realm driven directly, as the process that is forked for a call drives it.

#![expect(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod calls;
mod endings;
mod globals;
mod hostile;
mod kept;
mod modules;
mod node;
mod rig;
mod surface;
