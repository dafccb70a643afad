//! `deploy/compose.yml`, started as it is written, beside whatever else runs on the machine.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// For one command of docker. A start waits for a new database and two Engines.
const LIMIT: Duration = Duration::from_secs(240);
const WITHOUT_PRIVILEGES: &str = "tests/compose/engines-without-privileges.yml";

/// A deployment of its own name. Everything of it goes when this is dropped.
pub struct Compose {
    program: Vec<&'static str>,
    project: String,
    files: Vec<PathBuf>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Compose {
    /// Starts nothing yet. The port is a free one, and a replica may be asked by its own address.
    ///
    /// # Errors
    /// When there is no docker compose here, or the images were not built.
    pub async fn new() -> Result<Self> {
        for image in ["dynamic-mcp:latest", "dynamic-mcp-executor:latest"] {
            docker(&["image", "inspect", image])
                .await
                .with_context(|| format!("{image} is not built: run scripts/images, or scripts/test"))?;
        }
        let program = if docker(&["compose", "version"]).await.is_ok() {
            vec!["docker", "compose"]
        } else {
            vec!["docker-compose"]
        };
        let mut files = vec![root().join("deploy/compose.yml")];
        let privileged = ["run", "--rm", "--privileged", "debian:bookworm-slim", "true"];
        if let Err(error) = docker(&privileged).await {
            say(&format!(
                "engines run without `privileged`, which this machine can't give them: {error:#}"
            ));
            files.push(root().join(WITHOUT_PRIVILEGES));
        }
        Ok(Self {
            program,
            project: format!("dynamic-mcp-test-{}", std::process::id()),
            files,
            environment: vec![
                ("MCP_PUBLISH", "127.0.0.1:0"),
                ("MCP_HTTP_ALLOWED_HOSTS", "*"),
                ("MCP_SANDBOX_POOL_MIN", "1"),
            ],
        })
    }

    /// # Errors
    /// When a service can't be started.
    pub async fn up(&self, services: &[&str]) -> Result<()> {
        self.run(&[&["up", "--detach", "--no-build"], services].concat())
            .await
            .map(drop)
    }

    /// What `docker compose` answers.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        said(self.command(arguments), &arguments.join(" ")).await
    }

    /// Runs a command in a service.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        let container = self.container(service).await?;
        docker(&[&["exec", &container], command].concat()).await
    }

    /// Something of the container of a service, as `docker inspect` formats it.
    ///
    /// # Errors
    /// When it has none.
    pub async fn inspect(&self, service: &str, format: &str) -> Result<String> {
        let container = self.container(service).await?;
        docker(&["inspect", "--format", format, &container]).await
    }

    /// Where clients reach the proxy.
    ///
    /// # Errors
    /// When it is not up.
    pub async fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.run(&["port", "proxy", "8788"]).await?))
    }

    /// Where a control plane is reached from this machine, past the proxy.
    ///
    /// # Errors
    /// When it is not up.
    pub async fn replica_url(&self, service: &str) -> Result<String> {
        let network = format!("{}_front", self.project);
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        Ok(format!("http://{}:8788", self.inspect(service, &format).await?))
    }

    /// Gives an Engine of the deployment an image that this machine has.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn give_image(&self, engine: &str, image: &str) -> Result<()> {
        let container = self.container(engine).await?;
        let mut command = Command::new("sh");
        command.args(["-c", "docker save \"$1\" | docker exec -i \"$2\" docker load"]);
        command.args(["sh", image, &container]);
        said(command, "docker load").await.map(drop)
    }

    async fn container(&self, service: &str) -> Result<String> {
        let container = self.run(&["ps", "--all", "--quiet", service]).await?;
        ensure!(!container.is_empty(), "{service} has no container");
        Ok(container)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program[0]);
        command
            .args(&self.program[1..])
            .args(["--project-name", &self.project]);
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        for variable in crate::process::own_settings() {
            command.env_remove(variable);
        }
        command.args(arguments).envs(self.environment.iter().copied());
        command
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let mut down = self.command(&["down", "--volumes", "--remove-orphans", "--timeout", "10"]);
        let down = down.as_std_mut().stdout(Stdio::null()).status();
        if !down.is_ok_and(|status| status.success()) {
            say(&format!("the deployment {} was not taken down", self.project));
        }
    }
}

/// What `docker` answers.
///
/// # Errors
/// When it fails; with what it said.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    said(command, &arguments.join(" ")).await
}

/// Where the repository is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn said(mut command: Command, what: &str) -> Result<String> {
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("{what}: no end within {LIMIT:?}"))?
        .with_context(|| what.to_owned())?;
    if !status.success() {
        bail!("{what}: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

#[expect(clippy::print_stdout, reason = "tests tell what they found in their output")]
fn say(text: &str) {
    println!("{text}");
}
