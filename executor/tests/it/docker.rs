//! What only the engine over Docker has: containers of a Docker Engine with the image `node:lts-slim`, and Node.js with
//! its processes and files.

mod care;
mod dependencies;
mod egress;
mod faults;
mod hostile;
mod nodejs;
pub mod rig;
mod server;
mod session;
