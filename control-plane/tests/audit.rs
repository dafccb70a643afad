//! The audit over both of its stores, as a server keeps them and an auditor finds them.
//!
//! It needs `TEST_POSTGRES_URL`, which `scripts/test` sets: a superuser of a server that only tests use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "audit/expiry.rs"]
mod expiry;
#[path = "audit/lost.rs"]
mod lost;
#[path = "registry/proxy.rs"]
#[allow(dead_code, reason = "what the tests of the registry need besides")]
mod proxy;
#[path = "audit/query.rs"]
mod query;
#[path = "audit/rig.rs"]
mod rig;
#[path = "registry/stores.rs"]
#[allow(dead_code, reason = "what the tests of the registry need besides")]
mod stores;
#[path = "audit/tampered.rs"]
mod tampered;
#[path = "audit/walls.rs"]
mod walls;
