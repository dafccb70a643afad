//! Which engines a node gets, and what becomes of one that this machine does not have.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::job::Runtime;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use tokio::time::timeout;

use crate::cli::{EngineArgs, ExecutionEngine};
use crate::config;
use crate::docker::DockerEngine;
use crate::engine::several::Engines;
use crate::identity::Identity;
use crate::isolate::IsolateEngine;

/// How long a start waits for a Docker Engine that may not be there.
const LOOK_FOR_DOCKER: Duration = Duration::from_secs(2);

pub(super) async fn engines(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    identity: &Arc<Identity>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Engines> {
    let docker = || docker(args, policy, identity, lifecycle);
    let isolate = || isolate(args, policy, lifecycle);
    match args.engine {
        ExecutionEngine::Docker => Ok(Engines::default().with(Runtime::Node, docker()?)),
        ExecutionEngine::Isolate => Ok(Engines::default().with(Runtime::Isolate, isolate().await?)),
        ExecutionEngine::Auto => {
            let docker = docker()?;
            let (isolate, docker_trouble) = tokio::join!(isolate(), trouble(&docker));
            let engines = match isolate {
                Ok(isolate) => Engines::default().with(Runtime::Isolate, isolate),
                Err(error) => {
                    tracing::warn!("runtime \"isolate\" is not offered: {error:#}");
                    // Something has to be waited for.
                    return Ok(Engines::default().with(Runtime::Node, docker));
                }
            };
            let Some(why) = docker_trouble else {
                return Ok(engines.with(Runtime::Node, docker));
            };
            tracing::warn!(
                "no Docker Engine at {} ({why}): tools run on the isolate engine, without npm packages, images and \
                 Node.js modules. For those, install and start Docker Engine; it is taken up as soon as it answers",
                args.docker_host
            );
            Ok(engines.with_if_there(Runtime::Node, docker))
        }
    }
}

async fn trouble(docker: &DockerEngine) -> Option<String> {
    match timeout(LOOK_FOR_DOCKER, docker.probe()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", LOOK_FOR_DOCKER.as_secs())),
    }
}

fn docker(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    identity: &Arc<Identity>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Arc<DockerEngine>> {
    let config = config::docker_config(args, policy)?;
    DockerEngine::connect(config, Arc::clone(identity), Arc::new(SystemClock), lifecycle)
        .context("DOCKER_HOST")
}

async fn isolate(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Arc<IsolateEngine>> {
    let config = config::isolate_config(args, policy);
    IsolateEngine::start(config, lifecycle)
        .await
        .context("the isolate engine can't start")
}
