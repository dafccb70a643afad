//! A process of the product: its log is kept, and it never outlives its test.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

const START_DEADLINE: Duration = Duration::from_secs(30);

pub struct Process {
    name: &'static str,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    lines: watch::Receiver<usize>,
}

/// The built binary of that name: in `TEST_BIN_DIR`, or beside this test's own.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = match std::env::var_os("TEST_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(name),
        None => {
            let mut dir = std::env::current_exe().context("where this test is")?;
            dir.pop();
            if dir.ends_with("deps") {
                dir.pop();
            }
            dir.join(name)
        }
    };
    if !path.exists() {
        bail!(
            "{} is not built: run `cargo build --workspace --bins`, or `scripts/test`",
            path.display()
        );
    }
    Ok(path)
}

/// A command that sees none of the developer's own settings and logs JSON lines to stderr.
///
/// # Errors
/// When the binary has not been built.
pub fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(binary(name)?);
    for variable in own_settings() {
        command.env_remove(variable);
    }
    command
        .env("MCP_LOG_FORMAT", "json")
        .env("MCP_LOG", "info")
        .kill_on_drop(true);
    Ok(command)
}

/// What the developer's shell sets, which no test may see. The machine's CA bundle is not among it: installing packages
/// behind a proxy that re-signs TLS needs it.
pub fn own_settings() -> impl Iterator<Item = String> {
    let variables = std::env::vars().map(|(variable, _)| variable);
    variables.filter(|variable| variable.starts_with("MCP_") && variable != "MCP_SANDBOX_CA_BUNDLE")
}

impl Process {
    /// # Errors
    /// When it can't be started.
    pub fn spawn(name: &'static str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let stderr = child.stderr.take().context("its stderr")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (count, lines) = watch::channel(0);
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the process whose log it reads"
        )]
        tokio::spawn(keep_log(stderr, log.clone(), count));
        Ok(Self {
            name,
            child,
            log,
            lines,
        })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.child
            .id()
            .unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// The first log line with that message, as JSON.
    ///
    /// # Errors
    /// When the process ends, or does not say it in time; with what it said.
    pub async fn logged(&mut self, message: &str) -> Result<Value> {
        let find = |log: &Mutex<Vec<String>>| {
            log.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .iter()
                .find_map(|line| {
                    let line: Value = serde_json::from_str(line).ok()?;
                    (line["message"] == message).then_some(line)
                })
        };
        let wait = async {
            loop {
                self.lines.borrow_and_update();
                if let Some(line) = find(&self.log) {
                    return Ok(line);
                }
                // The log's end is the process's end.
                if self.lines.changed().await.is_err() {
                    return find(&self.log).context("it ended");
                }
            }
        };
        let found = tokio::time::timeout(START_DEADLINE, wait)
            .await
            .unwrap_or_else(|_| bail!("it never said so"));
        found.with_context(|| {
            format!(
                "{} did not log {message:?}; it logged:\n{}",
                self.name,
                self.log()
            )
        })
    }

    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .join("\n")
    }

    /// Sends a signal by its name: `TERM`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it has ended, or `kill` can't be run.
    pub async fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.pid().to_string())
            .status()
            .await;
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -{signal} {}",
            self.name
        );
    }

    /// Ends it with SIGKILL and waits for that.
    pub async fn kill(&mut self) {
        let _already_dead = self.child.kill().await;
    }

    /// Its exit status, when it ends by itself within the limit.
    ///
    /// # Errors
    /// When it does not; with what it logged.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!(
                "{} did not end within {limit:?}; it logged:\n{}",
                self.name,
                self.log()
            ),
        }
    }

    /// Ends it with SIGTERM and waits; answers whether it ended with success within the limit.
    pub async fn terminate(&mut self, limit: Duration) -> bool {
        self.signal("TERM").await;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => status.success(),
            _ => false,
        }
    }
}

async fn keep_log(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>, count: watch::Sender<usize>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(line);
        count.send_modify(|count| *count += 1);
    }
}
