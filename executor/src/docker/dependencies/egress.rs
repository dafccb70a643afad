//! The only way out of an install container, which has no network: npm's connections come over the container's own
//! streams, and each is answered here as a proxy answers. It dials the one registry that the install is for, at an
//! address that it has checked itself, and nothing else.
//!
//! ```text
//! npm ──HTTP proxy──▶ outlet.cjs ──frames over stdout, stdin──▶ channels ──▶ proxy ──▶ address? ──▶ registry
//!      (loopback of the container)                               (executor)
//! ```
//!
//! Every byte that comes from a container may be hostile.

mod address;
mod channels;
mod dial;
mod frames;
mod proxy;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use parking_lot::Mutex;

pub(super) use channels::Channels;
pub(super) use dial::{Resolver, SystemResolver};
pub(super) use frames::{Decoder, Frame, Garbled, Kind};
pub(super) use request::host_of;

use super::lock::Endpoint;
use crate::engine::ResolveError;

/// What one install may fetch in all.
const MAX_FETCHED_BYTES: u64 = 2 << 30;

/// The way out of one install, from its start to its end.
pub(super) struct Egress {
    registry: Endpoint,
    /// Private networks in which the operator's registry may be.
    networks: Arc<[IpNet]>,
    resolver: Arc<dyn Resolver>,
    left: AtomicU64,
    denied: Mutex<Option<Denied>>,
}

/// Why a connection was not made, as far as somebody can do something about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "one of the packages wants something of {0}, and an install reaches the package registry {1} only"
    )]
    Elsewhere(String, String),
    #[error(
        "the package registry {host} is at {address}, which is {kind} and therefore not dialled; if it belongs there, name \
         its network with MCP_SANDBOX_NPM_REGISTRY_NETWORKS"
    )]
    Address {
        host: String,
        address: std::net::IpAddr,
        kind: &'static str,
    },
    #[error("the package registry {host} can't be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("the packages are too large to be fetched")]
    TooLarge,
}

impl Egress {
    pub(super) fn new(registry: Endpoint, networks: Arc<[IpNet]>, resolver: Arc<dyn Resolver>) -> Self {
        Self {
            registry,
            networks,
            resolver,
            left: AtomicU64::new(MAX_FETCHED_BYTES),
            denied: Mutex::default(),
        }
    }

    /// What explains that the install failed, if anything of this does.
    pub(super) fn explanation(&self) -> Option<ResolveError> {
        let denied = self.denied.lock().clone()?;
        let text = denied.to_string();
        Some(match denied {
            Denied::Elsewhere(..) | Denied::TooLarge => ResolveError::Refused(text),
            Denied::Address { .. } | Denied::Unreachable { .. } => ResolveError::Unavailable(text),
        })
    }

    /// The first one is told: later ones may follow from it.
    fn deny(&self, why: Denied) {
        let mut denied = self.denied.lock();
        if denied.is_none() {
            // Once an install: the container decides how often it tries.
            tracing::warn!(%why, "a connection of an install is refused");
            *denied = Some(why);
        }
    }

    /// What was out of reach for a moment explains nothing any more.
    fn reached(&self) {
        self.denied
            .lock()
            .take_if(|denied| matches!(denied, Denied::Unreachable { .. }));
    }

    fn spend(&self, bytes: u64) -> Result<(), Denied> {
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        spent.map(drop).map_err(|_| Denied::TooLarge)
    }
}
