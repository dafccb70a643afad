//! Directory, leases, placement and retries on virtual time, from one seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking too"
)]

mod differential;
mod keyspace;
mod scripts;
