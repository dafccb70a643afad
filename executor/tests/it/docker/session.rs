//! Sandbox sessions over their gRPC service and over `Execute`, with real containers.

mod commands;
mod files;
mod hostile;
mod life;
mod packages;
mod rig;
mod run_js;
