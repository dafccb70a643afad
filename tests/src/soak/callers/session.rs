//! A sandbox session from its beginning to its end: a file, a command that reads it, one in the background, and the stop.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::journal::Journal;
use super::{PATIENCE, call};
use crate::client::McpClient;

/// Answers whether all of it went as on a good day. What is not stopped ends with its executor, or by its time.
pub(super) async fn live(client: &McpClient, n: u32, journal: &Journal) -> Result<bool> {
    let Some(begun) = call(client, "sandbox.initialize", json!({}), journal, PATIENCE).await? else {
        return Ok(false);
    };
    let Some(session) = begun["sessionId"].as_str() else {
        return Ok(false);
    };
    let worked = work(client, session, n, journal).await?;
    let stop = json!({"sessionId": session});
    let stopped = call(client, "sandbox.stop", stop, journal, PATIENCE).await?;
    Ok(worked && stopped.is_some_and(|stopped| stopped["stopped"] == true))
}

async fn work(client: &McpClient, session: &str, n: u32, journal: &Journal) -> Result<bool> {
    let content = n.to_string();
    let files = json!({"sessionId": session, "files": [{"path": "number", "content": content}]});
    let background = json!({"sessionId": session, "commands": ["sleep 600"], "background": true});
    let read = json!({"sessionId": session, "commands": ["cat /workspace/number"]});
    for (tool, arguments) in [("sandbox.fs.write", files), ("sandbox.exec", background)] {
        let answer = call(client, tool, arguments, journal, PATIENCE).await?;
        if answer.is_none_or(|answer| answer["ok"] == false) {
            return Ok(false);
        }
    }
    let Some(answer) = call(client, "sandbox.exec", read, journal, PATIENCE).await? else {
        return Ok(false);
    };
    let good = answer["outcome"] == "ok";
    ensure!(
        !good || answer["commands"][0]["stdout"] == content.as_str(),
        "{content} was written, and read was {answer}"
    );
    Ok(good)
}
