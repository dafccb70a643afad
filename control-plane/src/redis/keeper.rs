//! The task that gets the connection back and looks whether it still stands.

use std::time::Duration;

use dynamic_mcp_shared::readiness::Readiness;
use tokio_util::sync::CancellationToken;

use super::{PART, Redis, ping};

/// How often a standing connection is looked at, and how often one that was lost is tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(250);

impl Redis {
    pub(super) async fn first_connect(&self, readiness: &Readiness) {
        self.look(readiness).await;
    }

    pub(super) async fn keep(self, readiness: Readiness, stop: CancellationToken) {
        loop {
            let rest = if *self.0.up.borrow() {
                LOOK_EVERY
            } else {
                TRY_EVERY
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
                () = self.0.suspected.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look(&readiness) => {}
            }
        }
    }

    async fn look(&self, readiness: &Readiness) {
        let link = self.0.link.read().clone();
        let looked = match link {
            Some(mut link) => ping(&mut link).await.map(|()| link),
            None => match self.0.dialer.dial().await {
                Ok(mut link) => ping(&mut link).await.map(|()| link),
                Err(error) => Err(error),
            },
        };
        match looked {
            Ok(link) => {
                *self.0.link.write() = Some(link);
                if !self.0.up.send_replace(true) {
                    tracing::info!("connected to Redis");
                }
                readiness.restore(PART);
            }
            Err(error) => {
                *self.0.link.write() = None;
                self.0.up.send_replace(false);
                if readiness.degrade(PART, error.to_string()) {
                    tracing::warn!(%error, "Redis is away; trying until it answers");
                }
            }
        }
    }
}
