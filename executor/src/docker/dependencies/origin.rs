//! Where an install's packages come from and what they are made for: the registry and the image, as they are right now.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::installer::Run;
use super::lock::{InvalidRegistry, Registry};
use super::profile::Purpose;
use super::volume::ImageId;
use super::{Dependencies, engine_fault, one_time_name};
use crate::engine::ResolveError;

/// For so long a tag is taken to name the same image.
const TRUST_TAG: Duration = Duration::from_secs(30);

impl Dependencies {
    pub(super) async fn image(&self, image: &str) -> Result<ImageId, ResolveError> {
        if let Some((id, at)) = self.images.lock().get(image)
            && at.elapsed() < TRUST_TAG
        {
            return Ok(id.clone());
        }
        let found = self.client.inspect_image(image).await.map_err(engine_fault)?;
        let found =
            found.ok_or_else(|| ResolveError::Unavailable(format!("image {image} is not on this node")))?;
        let id = ImageId {
            id: found.id.unwrap_or_default(),
            platform: format!(
                "{}/{}{}",
                found.os.unwrap_or_default(),
                found.architecture.unwrap_or_default(),
                found.variant.unwrap_or_default()
            ),
        };
        let seen = (id.clone(), Instant::now());
        self.images.lock().insert(image.to_owned(), seen);
        Ok(id)
    }

    /// The operator's registry, or what npm in the image is configured for.
    pub(super) async fn registry(&self, image: &str, image_id: &ImageId) -> Result<Registry, ResolveError> {
        let invalid = |error: InvalidRegistry| ResolveError::Unavailable(error.to_string());
        if let Some(url) = &self.config.npm_registry {
            return Registry::parse(url).map_err(invalid);
        }
        // Held while npm is asked, so that it is asked once.
        let mut registries = self.registries.lock().await;
        if let Some(registry) = registries.get(&image_id.id) {
            return Ok(registry.clone());
        }
        let ask = Run {
            name: &one_time_name("ask"),
            purpose: Purpose::Ask,
            image,
            tenant: None,
            registry: None,
            request: json!({"action": "registry"}),
        };
        let done = self.run_alone(ask).await?;
        let registry = Registry::parse(done["registry"].as_str().unwrap_or_default()).map_err(invalid)?;
        registries.insert(image_id.id.clone(), registry.clone());
        Ok(registry)
    }
}
