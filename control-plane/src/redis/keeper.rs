//! The task that gets the connection back and looks whether it still stands.

use std::time::Duration;

use dynamic_mcp_shared::readiness::Readiness;

use super::{PART, Redis, look_up};

/// How often a standing connection is looked at, and how often one that was lost is tried.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(250);

impl Redis {
    pub(super) async fn first_connect(&self, readiness: &Readiness) {
        self.look(readiness).await;
    }

    pub(super) async fn keep(self, readiness: Readiness) {
        let stop = self.0.stop.clone();
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
        let link = match link {
            Some(link) => Ok(link),
            None => self.0.dialer.dial().await,
        };
        let looked = match link {
            Ok(mut link) => look_up(&mut link, &self.0.keys).await.map(|()| link),
            Err(error) => Err(error),
        };
        match looked {
            Ok(link) => {
                *self.0.link.write() = Some(link);
                if self.set_up(true) {
                    tracing::info!("connected to Redis");
                }
                readiness.restore(PART);
            }
            Err(error) => {
                *self.0.link.write() = None;
                self.set_up(false);
                if readiness.degrade(PART, error.to_string()) {
                    tracing::warn!(%error, "Redis is away; trying until it answers");
                }
            }
        }
    }

    /// Answers whether that is news; who watches hears of nothing else.
    fn set_up(&self, up: bool) -> bool {
        self.0.up.send_if_modified(|was| std::mem::replace(was, up) != up)
    }
}
