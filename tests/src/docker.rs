//! What the product leaves on the Engine, seen from outside.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Sweeps until nothing new turns up: a killed process may have had a container in the making.
const SWEEPS: usize = 20;

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
    containers(HashMap::from([("label", vec!["app=dynamic-mcp", label])])).await
}

/// The containers of one executor in which processes run.
///
/// # Errors
/// When the Engine does not answer.
pub async fn running_containers_of(executor: &str) -> Result<Vec<String>> {
    let label = format!("executor={executor}");
    containers(HashMap::from([
        ("label", vec!["app=dynamic-mcp", &label]),
        ("status", vec!["running"]),
    ]))
    .await
}

/// The command lines of the processes in a container.
///
/// # Errors
/// When the Engine does not answer, or nothing runs there.
pub async fn processes_in(container: &str) -> Result<Vec<String>> {
    let docker = Docker::connect_with_local_defaults()?;
    let top = docker.top_processes(container, None).await?;
    Ok(top
        .processes
        .unwrap_or_default()
        .into_iter()
        .map(|process| process.join(" "))
        .collect())
}

/// Whether the tests have an Engine. Without one there are no containers and no volumes, and nothing to take away.
fn is_here() -> bool {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned());
    host.strip_prefix("unix://")
        .is_none_or(|socket| Path::new(socket).exists())
}

async fn containers(filters: HashMap<&str, Vec<&str>>) -> Result<Vec<String>> {
    if !is_here() {
        return Ok(Vec::new());
    }
    let docker = Docker::connect_with_local_defaults()?;
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let containers = docker.list_containers(Some(options)).await?;
    Ok(containers
        .into_iter()
        .filter_map(|container| container.id)
        .collect())
}

/// The volumes that carry this product's label and a further one, by name.
///
/// # Errors
/// When the Engine does not answer.
pub async fn volumes_with(label: &str) -> Result<Vec<String>> {
    if !is_here() {
        return Ok(Vec::new());
    }
    let docker = Docker::connect_with_local_defaults()?;
    let filters = HashMap::from([("label", vec!["app=dynamic-mcp", label])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let volumes = docker.list_volumes(Some(options)).await?;
    Ok(volumes
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| volume.name)
        .collect())
}

/// Removes all containers and volumes of these executors, from a destructor: on a thread with a runtime of its own.
pub(crate) fn take_away(executors: Vec<String>) {
    if !is_here() {
        return;
    }
    let sweeping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            for executor in &executors {
                sweep(executor).await?;
            }
            anyhow::Ok(())
        })
    });
    // Nobody can be told, and scripts/test looks at the Engine afterwards.
    let _ended = sweeping.join();
}

async fn sweep(executor: &str) -> Result<()> {
    let docker = Docker::connect_with_local_defaults()?;
    for _ in 0..SWEEPS {
        let containers = containers_of(executor).await?;
        if containers.is_empty() {
            break;
        }
        for id in containers {
            let options = RemoveContainerOptionsBuilder::new().force(true).build();
            let _gone_already = docker.remove_container(&id, Some(options)).await;
        }
    }
    for name in volumes_with(&format!("executor={executor}")).await? {
        let options = RemoveVolumeOptionsBuilder::new().build();
        let _used_by_another = docker.remove_volume(&name, Some(options)).await;
    }
    Ok(())
}
