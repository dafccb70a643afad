//! The engine over a real Docker Engine with the image `node:lts-slim`. Each test has an executor of its own and
//! leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong; clippy knows that of test functions only"
)]

mod calls;
mod care;
mod dependencies;
mod faults;
mod hostile;
mod process;
mod reuse;
mod rig;
