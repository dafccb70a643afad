//! Programs of others: public MCP clients and the conformance suite, as `scripts/test` and `scripts/services` install them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::process::own_settings;

/// Most of them start in under a second; a deadline of their own inside them is 10 s.
const DEADLINE: Duration = Duration::from_secs(120);

/// A Node.js that the public clients run on, with one of the scripts in `tests/clients`.
///
/// # Errors
/// When the clients are not installed.
pub fn node(script: &str) -> Result<Command> {
    let mut command = command("TEST_NODE")?;
    command.arg(clients().join(script));
    Ok(command)
}

/// The program of a package in `tests/clients/node_modules`.
///
/// # Errors
/// When the clients are not installed.
pub fn node_package(program: &str) -> Result<Command> {
    let mut command = command("TEST_NODE")?;
    command.arg(variable("TEST_NODE_MODULES")?.join(program));
    Ok(command)
}

/// The Python whose interpreter that variable names, with one of the scripts in `tests/clients`.
///
/// # Errors
/// When the clients are not installed.
pub fn python(interpreter: &str, script: &str) -> Result<Command> {
    let mut command = command(interpreter)?;
    // The repository is not a place for caches.
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(clients().join(script));
    Ok(command)
}

/// What it printed, when it ended with success within two minutes.
///
/// # Errors
/// When it did not; with all that it printed.
pub async fn output(mut command: Command) -> Result<String> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(DEADLINE, run).await else {
        bail!("{command:?} hangs")
    };
    let output = output.with_context(|| format!("start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{command:?} ended with {}; it said:\n{stdout}\n{stderr}",
            output.status
        );
    }
    Ok(stdout)
}

/// The folder of what the tests bring along for them.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn command(interpreter: &str) -> Result<Command> {
    let mut command = Command::new(variable(interpreter)?);
    for variable in own_settings() {
        command.env_remove(variable);
    }
    Ok(command)
}

fn variable(name: &str) -> Result<PathBuf> {
    match std::env::var_os(name) {
        Some(value) => Ok(value.into()),
        None => bail!("{name} is not set: run scripts/test, or eval \"$(scripts/services)\" first"),
    }
}
