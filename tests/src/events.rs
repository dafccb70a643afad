//! Server-sent events, read one by one.

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Server-sent events, as JSON-RPC messages.
pub struct EventStream {
    headers: HeaderMap,
    chunks: futures::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    last_id: Option<String>,
}

impl EventStream {
    pub fn new(response: reqwest::Response) -> Self {
        let headers = response.headers().clone();
        let chunks = response
            .bytes_stream()
            .map(|chunk| chunk.map(|bytes| bytes.to_vec()))
            .boxed();
        Self {
            headers,
            chunks,
            buffer: Vec::new(),
            last_id: None,
        }
    }

    /// Of the last event that has been read, one without a message included.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next message; `None` when the stream has ended. Comments and empty events are passed over.
    ///
    /// # Errors
    /// When the connection breaks or an event is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            while let Some(end) = find_event_end(&self.buffer) {
                let event: Vec<u8> = self.buffer.drain(..end).collect();
                let event = String::from_utf8(event)?;
                let id = event.lines().filter_map(|line| line.strip_prefix("id:")).next();
                if let Some(id) = id {
                    self.last_id = Some(id.trim().to_owned());
                }
                let data: Vec<_> = event
                    .lines()
                    .filter_map(|line| line.strip_prefix("data:"))
                    .map(str::trim)
                    .collect();
                let data = data.join("\n");
                if !data.is_empty() {
                    return Ok(Some(serde_json::from_str(&data)?));
                }
            }
            match self.chunks.next().await {
                Some(chunk) => self.buffer.extend(chunk?),
                None => return Ok(None),
            }
        }
    }

    /// The first message that fits, within ten seconds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = async {
            while let Some(message) = self.next().await? {
                if fits(&message) {
                    return Ok(message);
                }
            }
            bail!("the stream ended without it")
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), find)
            .await
            .context("no such message came")?
    }
}

fn find_event_end(buffer: &[u8]) -> Option<usize> {
    let ends = [b"\n\n".as_slice(), b"\r\n\r\n".as_slice()];
    ends.into_iter()
        .filter_map(|end| {
            buffer
                .windows(end.len())
                .position(|window| window == end)
                .map(|at| at + end.len())
        })
        .min()
}

/// The JSON-RPC answer with that id, from a JSON body or a stream.
///
/// # Errors
/// When there is none.
pub async fn answer(response: reqwest::Response, id: u64) -> Result<Value> {
    let status = response.status();
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
        let mut events = EventStream::new(response);
        while let Some(message) = events.next().await? {
            if message["id"] == id {
                return Ok(message);
            }
        }
        bail!("the stream ended without an answer");
    }
    let body = response.text().await?;
    serde_json::from_str(&body).with_context(|| format!("status {status}: {body:?}"))
}
