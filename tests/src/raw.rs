//! HTTP as bytes, for what no client would send.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// With the status line, in lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// # Errors
    /// When the body is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }
}

/// A POST of JSON with these header lines, after which the connection is to be closed.
pub fn post(path: &str, headers: &[&str], body: &str) -> String {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
    )
}

/// Sends the bytes on a connection of their own, and answers all that comes back until the server closes it.
///
/// # Errors
/// When it does not close the connection, or what came back is not HTTP.
pub async fn exchange(base_url: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Answer>> {
    let address = base_url.strip_prefix("http://").context("an address")?;
    let mut stream = TcpStream::connect(address).await?;
    // It may be closed before all of it is read.
    let _sent = stream.write_all(bytes.as_ref()).await;
    let mut received = Vec::new();
    let reading = timeout(LIMIT, stream.read_to_end(&mut received));
    // A reset is an end too.
    let _ended = reading.await.context("the connection was not closed")?;
    answers(&String::from_utf8(received)?)
}

fn answers(mut text: &str) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("no head in {text:?}"))?;
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Ok(0), str::parse)?;
        let (body, rest) = rest.split_at_checked(length).context("the whole body")?;
        answers.push(Answer {
            status,
            head,
            body: body.to_owned(),
        });
        text = rest;
    }
    Ok(answers)
}
