//! The executor's side of the fleet: it joins each replica of the control plane that it was told of, says how it is at
//! the interval it is given, and comes back for ever when the stream breaks.
//!
//! ```text
//! connect ──▶ register ──▶ registered ──▶ heartbeat* ──▶ (drain) ──▶ leave: the stream ends
//!    ▲                                        │
//!    └──────────── backoff with jitter ◀──────┘ broken
//! ```
//!
//! Heartbeats have a task of their own and ask nobody, so they go on under any load. Jobs don't depend on them: each
//! has a stream of its own, whose end ends it.

mod membership;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::tls::Trust;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::node::Node;
use membership::{Left, Membership};

/// A control plane that was restarted is joined again within about so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// What every replica is told, and what the answers act upon.
#[derive(Clone)]
pub struct FleetClient {
    node: Arc<Node>,
    /// Where the control plane reaches this executor: "https://host:port", or "http://" without certificates.
    address: String,
    credentials: Credentials,
    lifecycle: Lifecycle,
    /// Cancelled when the last job has ended and serving ends: only then does the executor leave.
    stop: CancellationToken,
}

/// By what the two planes know each other.
#[derive(Clone)]
pub struct Credentials {
    pub join_token: JoinToken,
    /// `None`: plaintext.
    pub trust: Option<Arc<Trust>>,
}

impl FleetClient {
    pub fn new(
        node: Arc<Node>,
        address: String,
        credentials: Credentials,
        lifecycle: Lifecycle,
        stop: CancellationToken,
    ) -> Self {
        Self {
            node,
            address,
            credentials,
            lifecycle,
            stop,
        }
    }

    /// Joins the replica at `url` in a task of its own and stays joined until the executor stops.
    pub fn stay_joined(&self, url: String) {
        let span = tracing::info_span!("fleet", control_plane = %url);
        let client = self.clone();
        self.lifecycle
            .spawn(async move { client.keep_joining(&url).await }.instrument(span));
    }

    async fn keep_joining(&self, url: &str) {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        let mut pause = pauses.build();
        let mut was_joined = true;
        while !self.stop.is_cancelled() {
            let membership = Membership::new(self, url);
            match membership.hold().await {
                Left::Stopped => return,
                Left::Lost { registered, why } => {
                    if registered {
                        pause = pauses.build();
                    }
                    // Once each time it is lost, not once each attempt.
                    if registered || was_joined {
                        tracing::warn!(%why, "not joined to the control plane; trying again until it answers");
                    } else {
                        tracing::debug!(%why, "still not joined to the control plane");
                    }
                    was_joined = false;
                }
            }
            let wait = pause.next().unwrap_or(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}
