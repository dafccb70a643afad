//! The product as a desktop client starts it: MCP over its stdin and stdout.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use crate::process::{Process, command};
use crate::server::SMALL_POOL;
use crate::state::State;

pub struct StdioServer {
    pub process: Process,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    next_id: u64,
    state: State,
}

impl StdioServer {
    /// Starts it and shakes hands, as a client of 2025-11-25.
    ///
    /// # Errors
    /// When it does not start, or the handshake fails.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let mut server = Self::spawn(settings)?;
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"},
        });
        server.ask("initialize", params).await?;
        server
            .write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        Ok(server)
    }

    /// Starts it and says nothing, as a client of 2026-07-28 would before its first request.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(settings: &[(&str, &str)]) -> Result<Self> {
        let state = State::new()?;
        let mut command = command("dynamic-mcp")?;
        command.current_dir(state.path()).env("MCP_TRANSPORT", "stdio");
        command
            .env("MCP_STATE_DIR", state.path())
            .env("MCP_EXECUTOR_STATE_DIR", state.path().join("executor"));
        command
            .envs(SMALL_POOL)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::spawn("dynamic-mcp", command)?;
        let stdin = process.child().stdin.take();
        let stdout = process.child().stdout.take().context("its stdout")?;
        Ok(Self {
            process,
            stdin,
            stdout: BufReader::new(stdout).lines(),
            next_id: 0,
            state,
        })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// # Errors
    /// When its stdin is closed.
    pub async fn write(&mut self, message: &Value) -> Result<()> {
        self.write_line(&message.to_string()).await
    }

    /// # Errors
    /// When its stdin is closed.
    pub async fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        stdin.write_all(line.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        Ok(stdin.flush().await?)
    }

    /// The next line of stdout, which must be a JSON-RPC message; `None` at its end.
    ///
    /// # Errors
    /// When the line is anything else.
    pub async fn read(&mut self) -> Result<Option<Value>> {
        let Some(line) = self.stdout.next_line().await? else {
            return Ok(None);
        };
        let message: Value =
            serde_json::from_str(&line).with_context(|| format!("not MCP on stdout: {line:?}"))?;
        if message["jsonrpc"] != "2.0" {
            bail!("not JSON-RPC on stdout: {line:?}");
        }
        Ok(Some(message))
    }

    /// Sends a request and answers its id.
    ///
    /// # Errors
    /// When its stdin is closed.
    pub async fn send(&mut self, method: &str, params: Value) -> Result<u64> {
        self.next_id += 1;
        let id = self.next_id;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await?;
        Ok(id)
    }

    /// The whole answer to a request; other messages that come before it are dropped.
    ///
    /// # Errors
    /// When stdout ends first.
    pub async fn answer(&mut self, id: u64) -> Result<Value> {
        while let Some(message) = self.read().await? {
            if message["id"] == id {
                return Ok(message);
            }
        }
        bail!("stdout ended; the log:\n{}", self.process.log())
    }

    /// The `result` of a request.
    ///
    /// # Errors
    /// When the answer is an error.
    pub async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.send(method, params).await?;
        let answer = self.answer(id).await?;
        answer
            .get("result")
            .cloned()
            .with_context(|| format!("{method}: {}", answer["error"]))
    }

    /// # Errors
    /// When the answer is a protocol error.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value> {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Closes its stdin, as a client that leaves.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }
}
