//! The tool registry: one suite of behaviours over both stores, then what only one of them has.
//!
//! The Postgres half needs `TEST_POSTGRES_URL`, which `scripts/test` sets: a superuser of a server that only tests use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "registry/cache.rs"]
mod cache;
#[path = "registry/import.rs"]
mod import;
#[path = "registry/postgres.rs"]
mod postgres;
#[path = "registry/proxy.rs"]
mod proxy;
#[path = "registry/sqlite.rs"]
mod sqlite;
#[path = "registry/stores.rs"]
mod stores;
#[path = "registry/suite.rs"]
mod suite;
