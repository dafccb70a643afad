//! Which of the allowed images are on this machine. A missing one is pulled, and asked for again on a timer, so that
//! `docker pull` by hand or a registry that comes back is enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use super::client::EngineClient;

pub const RETRY_EVERY: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub struct Images {
    client: Arc<EngineClient>,
    present: RwLock<BTreeMap<String, bool>>,
}

impl Images {
    pub fn new(client: Arc<EngineClient>, allowed: &[String]) -> Self {
        Self {
            client,
            present: RwLock::new(allowed.iter().map(|image| (image.clone(), false)).collect()),
        }
    }

    pub fn is_present(&self, image: &str) -> bool {
        self.present.read().get(image).copied().unwrap_or(false)
    }

    /// Every allowed image, and whether it is there.
    pub fn snapshot(&self) -> Vec<(String, bool)> {
        let present = self.present.read();
        present
            .iter()
            .map(|(image, there)| (image.clone(), *there))
            .collect()
    }

    /// Looks for each image and pulls what is missing. Answers with those that were not there before.
    pub async fn look(&self) -> Vec<String> {
        let mut new = Vec::new();
        for (image, was_there) in self.snapshot() {
            let is_there = match self.client.inspect_image(&image).await {
                Ok(Some(_)) => true,
                Ok(None) => self.pull(&image).await,
                // Health says so already.
                Err(_) => was_there,
            };
            if is_there && !was_there {
                tracing::info!(image, "the sandbox image is there");
                new.push(image.clone());
            }
            self.present.write().insert(image, is_there);
        }
        new
    }

    async fn pull(&self, image: &str) -> bool {
        tracing::info!(image, "pulling the sandbox image");
        let mut told = Instant::now();
        let pulled = self
            .client
            .pull(image, |progress| {
                if told.elapsed() >= PROGRESS_EVERY {
                    told = Instant::now();
                    tracing::info!(image, progress, "still pulling the sandbox image");
                }
            })
            .await;
        if let Err(error) = pulled {
            tracing::warn!(
                image,
                %error,
                "the sandbox image can't be pulled, so tools that use it are refused; `docker pull {image}` says more, \
                 `scripts/sandbox-image` builds a stand-in where no registry answers"
            );
            return false;
        }
        matches!(self.client.inspect_image(image).await, Ok(Some(_)))
    }
}
