//! The control plane: speaks MCP, owns the registry, the guard and the audit, and sends jobs to executors over gRPC. It
//! never talks to Docker.

pub mod app;
pub mod audit;
pub mod auth;
pub mod catalog;
pub mod certs;
pub mod command;
pub mod config;
mod dependency_lock;
pub mod fleet_admin;
pub mod grpc;
pub mod guard;
pub mod health;
pub mod http;
pub mod jobs;
pub mod mcp;
pub mod metric_names;
mod postgres_pool;
pub mod principal;
pub mod redis;
pub mod registry;
pub mod roster;
pub mod runtimes;
pub mod sandbox;
pub mod scheduler;
pub mod tenant;
