//! Removes the volumes that nobody uses any more, also those that an install left half-made when its process died.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::Volume;
use chrono::{DateTime, Utc};
use tokio::time::{MissedTickBehavior, interval};

use super::Dependencies;
use super::volume::{Candidate, is_unused};
use crate::docker::client::EngineError;
use crate::docker::labels::{Kind, Ownership, of_kind, ours};
use crate::identity::Holder;

const EVERY: Duration = Duration::from_secs(600);
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3_600);

impl Dependencies {
    /// Collects for ever.
    pub(in crate::docker) async fn tend(self: Arc<Self>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.collect().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "unused dependency volumes are removed"),
                Err(error) => tracing::debug!(%error, "dependency volumes can't be listed now"),
            }
        }
    }

    /// One look at every volume. Answers with how many it removed.
    ///
    /// # Errors
    /// When the Engine doesn't tell what there is.
    pub async fn collect(&self) -> Result<usize, EngineError> {
        let filter = [ours(), of_kind(Kind::Dependencies)];
        let mut removed = 0;
        for volume in self.client.list_volumes(&filter).await? {
            let candidate = self.candidate(&volume).await;
            if !is_unused(&candidate, self.clock.now()) {
                continue;
            }
            match self.client.remove_volume(&volume.name).await {
                Ok(()) => {
                    self.uses.forget(&volume.name).await;
                    removed += 1;
                }
                // Some container has it still.
                Err(EngineError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(volume = volume.name, %error, "an unused volume can't be removed")
                }
            }
        }
        self.forget_idle_installs();
        Ok(removed)
    }

    async fn candidate(&self, volume: &Volume) -> Candidate {
        let ownership = Ownership::read(&volume.labels);
        let identity = Arc::clone(&self.identity);
        let maker = match ownership.executor {
            None => Holder::Unknown,
            Some(maker) => tokio::task::spawn_blocking(move || identity.holder(&maker))
                .await
                .unwrap_or(Holder::Unknown),
        };
        Candidate {
            made: made_at(volume),
            expires: ownership.expires,
            last_use: self.uses.last(&volume.name).await,
            maker,
        }
    }

    /// What is not in hand and was not used for long is looked up in the Engine when it is asked for again.
    fn forget_idle_installs(&self) {
        self.installs
            .lock()
            .retain(|_, install| match install.try_lock() {
                Ok(install) => install.recorded.is_some_and(|at| at.elapsed() < FORGET_AFTER),
                Err(_in_hand) => true,
            });
    }
}

fn made_at(volume: &Volume) -> Option<DateTime<Utc>> {
    let made = DateTime::parse_from_rfc3339(volume.created_at.as_deref()?).ok()?;
    Some(made.with_timezone(&Utc))
}
