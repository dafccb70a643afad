//! What the Engine takes for the same code without us: through its command line, and through its bare API.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::process::Command;

use crate::load::Samples;

const IMAGE: &str = "node:lts-slim";
const SCRIPT: &str = "console.log(JSON.stringify({ upper: String('hello').toUpperCase() }))";
const HARDENED: [&str; 12] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--init",
    "--memory=512m",
    "--memory-swap=512m",
    "--cpus=1",
    "--pids-limit=128",
    "--user=1000:1000",
    "--ipc=private",
    "--tmpfs=/tmp",
];

/// The first container after a start of the Engine pays for everybody.
pub async fn warm_up() -> Result<()> {
    docker_run(2).await.map(|_| ())
}

pub async fn docker_run(calls: usize) -> Result<Samples> {
    let mut arguments = vec!["run", "--rm"];
    arguments.extend(HARDENED);
    arguments.extend([IMAGE, "node", "-e", SCRIPT]);
    measure(&arguments, calls).await
}

pub async fn docker_exec(calls: usize) -> Result<Samples> {
    docker_exec_of(calls, &["node", "-e", SCRIPT]).await
}

pub async fn docker_exec_of(calls: usize, command: &[&str]) -> Result<Samples> {
    let mut arguments = vec!["run", "--rm", "-d"];
    arguments.extend(HARDENED);
    arguments.extend([IMAGE, "sleep", "600"]);
    let container = docker(&arguments).await?;
    let exec = [&["exec", container.as_str()], command].concat();
    let samples = measure(&exec, calls).await;
    docker(&["rm", "-f", &container]).await?;
    samples
}

async fn measure(arguments: &[&str], calls: usize) -> Result<Samples> {
    let mut taken = Vec::new();
    for _ in 0..calls {
        let started = Instant::now();
        docker(arguments).await?;
        taken.push(started.elapsed());
    }
    let busy = taken.iter().sum();
    Ok(Samples::new(taken, busy))
}

async fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .context("docker")?;
    ensure!(
        output.status.success(),
        "docker {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Create, start, wait, remove, that many at once: what the Engine reaches when nothing else is asked of it.
pub async fn bare_loop(at_once: usize, time: Duration) -> Result<Samples> {
    let engine = Docker::connect_with_local_defaults()?;
    let started = Instant::now();
    let taken = try_join_all((0..at_once).map(|_| async {
        let mut taken = Vec::new();
        while started.elapsed() < time {
            let begun = Instant::now();
            run_once(&engine).await?;
            taken.push(begun.elapsed());
        }
        anyhow::Ok(taken)
    }))
    .await?;
    Ok(Samples::new(taken.concat(), started.elapsed()))
}

async fn run_once(engine: &Docker) -> Result<()> {
    let config = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(["node", "-e", SCRIPT].map(str::to_owned).to_vec()),
        user: Some("1000:1000".to_owned()),
        host_config: Some(hardened()),
        ..Default::default()
    };
    let id = engine
        .create_container(None::<CreateContainerOptions>, config)
        .await?
        .id;
    engine.start_container(&id, None::<StartContainerOptions>).await?;
    let mut ended = engine.wait_container(&id, None::<WaitContainerOptions>);
    while let Some(status) = ended.next().await {
        status?;
    }
    engine
        .remove_container(
            &id,
            Some(RemoveContainerOptionsBuilder::new().force(true).build()),
        )
        .await?;
    Ok(())
}

fn hardened() -> HostConfig {
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        network_mode: Some("none".to_owned()),
        init: Some(true),
        memory: Some(512 << 20),
        memory_swap: Some(512 << 20),
        nano_cpus: Some(1_000_000_000),
        pids_limit: Some(128),
        ipc_mode: Some("private".to_owned()),
        tmpfs: Some([("/tmp".to_owned(), String::new())].into()),
        ..Default::default()
    }
}
