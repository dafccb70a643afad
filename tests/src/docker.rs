//! What the product leaves on the Engine, seen from outside.

use std::collections::HashMap;

use anyhow::Result;
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};

/// The containers of one executor, running or not.
///
/// # Errors
/// When the Engine does not answer.
pub async fn containers_of(executor: &str) -> Result<Vec<String>> {
    containers_with(&format!("executor={executor}")).await
}

/// The containers that carry this product's label and a further one, by id.
///
/// # Errors
/// When the Engine does not answer.
pub async fn containers_with(label: &str) -> Result<Vec<String>> {
    let docker = Docker::connect_with_local_defaults()?;
    let filters = HashMap::from([("label", vec!["app=dynamic-mcp", label])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers = docker.list_containers(Some(options)).await?;
    Ok(containers.into_iter().filter_map(|container| container.id).collect())
}

/// The volumes that carry this product's label and a further one, by name.
///
/// # Errors
/// When the Engine does not answer.
pub async fn volumes_with(label: &str) -> Result<Vec<String>> {
    let docker = Docker::connect_with_local_defaults()?;
    let filters = HashMap::from([("label", vec!["app=dynamic-mcp", label])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes = docker.list_volumes(Some(options)).await?;
    Ok(volumes.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
}
