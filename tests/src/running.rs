//! A call that is known to run: its code has said so.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::client::{EventStream, McpClient};

/// What the code of a tool begins with, so that [`Running::start`] hears of it.
pub const SAYS_SO: &str = "ctx.progress(1);";

/// Dropping it closes the connection, as a client that leaves.
pub struct Running {
    id: Value,
    events: EventStream,
}

impl Running {
    /// Calls a tool and returns when its code runs.
    ///
    /// # Errors
    /// When the call ends before, with how it ended.
    pub async fn start(client: &McpClient, tool: &str, arguments: Value) -> Result<Self> {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "running"}});
        let message = client.request("tools/call", params);
        let id = message["id"].clone();
        let mut events = EventStream::new(client.send(&message).await?.error_for_status()?);
        let said = events
            .find(|said| said["method"] == "notifications/progress" || said["id"] == id)
            .await?;
        anyhow::ensure!(
            said.get("result").is_none(),
            "{tool} ended before it said that it runs: {said}"
        );
        Ok(Self { id, events })
    }

    pub fn id(&self) -> &Value {
        &self.id
    }

    /// What the call answers.
    ///
    /// # Errors
    /// When the stream ends before, or the answer is a protocol error.
    pub async fn result(mut self) -> Result<Value> {
        while let Some(message) = self.events.next().await? {
            if message["id"] == self.id {
                let result = message
                    .get("result")
                    .with_context(|| format!("an error: {message}"))?;
                return Ok(result.clone());
            }
        }
        anyhow::bail!("the stream ended without an answer")
    }

    /// The structured content of what it answers.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub async fn structured(self) -> Result<Value> {
        Ok(self.result().await?["structuredContent"].clone())
    }
}
