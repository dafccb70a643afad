//! The execution plane. It runs jobs and owns its engine; it holds no database, no Redis and no signing key, and all
//! it knows of the control plane is an address and the join token.

pub mod app;
pub mod capacity;
mod capture;
pub mod cli;
pub mod config;
pub mod docker;
pub mod engine;
mod finish;
pub mod fleet;
pub mod grpc;
pub mod health;
pub mod identity;
pub mod isolate;
pub mod kept;
mod leaving;
pub mod metric_names;
pub mod node;
mod progress;
pub mod sandbox;
mod verdict;
