//! Isolates when something is killed, stopped or renewed: no call hangs, none is told wrongly, and nothing is left. What
//! every engine must do is in the suite `it`; what a child may do is in the `probe` of `dynamic-mcp-isolate`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong; clippy knows that of test functions only"
)]

mod broker;
mod faults;
mod load;
mod memory;
mod pace;
mod processes;
mod renewal;
mod rig;
