//! Which of the allowed images are on this machine. A missing one is pulled, and asked for again on a timer, so that
//! `docker pull` by hand or a registry that comes back is enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use super::client::EngineClient;

pub const RETRY_EVERY: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub struct Images {
    client: Arc<EngineClient>,
    present: RwLock<BTreeMap<String, bool>>,
    looked: AtomicBool,
}

impl Images {
    pub fn new(client: Arc<EngineClient>, allowed: &[String]) -> Self {
        Self {
            client,
            present: RwLock::new(allowed.iter().map(|image| (image.clone(), false)).collect()),
            looked: AtomicBool::new(false),
        }
    }

    /// Whether it is known which images are here. Before, a job that needs one must wait and not be refused.
    pub fn are_known(&self) -> bool {
        self.looked.load(Ordering::Acquire)
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

    /// Looks for each image and pulls what is missing. `found` is told of each that was not there before.
    pub async fn look(&self, found: impl Fn(&str)) {
        let mut missing = Vec::new();
        for (image, was_there) in self.snapshot() {
            match self.client.inspect_image(&image).await {
                Ok(Some(_)) if was_there => {}
                Ok(Some(_)) => self.is_there(image, &found),
                Ok(None) => {
                    self.present.write().insert(image.clone(), false);
                    missing.push(image);
                }
                // Health says so already.
                Err(_) => {}
            }
        }
        // A pull takes minutes, and the images that are here can be used meanwhile.
        self.looked.store(true, Ordering::Release);
        for image in missing {
            if self.pull(&image).await {
                self.is_there(image, &found);
            }
        }
    }

    fn is_there(&self, image: String, found: &impl Fn(&str)) {
        tracing::info!(image, "the sandbox image is there");
        found(&image);
        self.present.write().insert(image, true);
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
