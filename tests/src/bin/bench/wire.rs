//! An HTTP/1.1 client that costs next to nothing, so that the server is what is measured: a finished request is written,
//! and its answer is read to its end.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: &str = "2026-07-28";

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A whole request of the 2026 era, which needs no session.
pub fn request(method: &str, params: &Value, name: &str) -> Vec<u8> {
    with_headers(method, params, &format!("mcp-name: {name}\r\n"))
}

/// The same with an access token.
pub fn request_as(token: &str, method: &str, params: &Value, name: Option<&str>) -> Vec<u8> {
    let name = name
        .map(|name| format!("mcp-name: {name}\r\n"))
        .unwrap_or_default();
    with_headers(
        method,
        params,
        &format!("authorization: Bearer {token}\r\n{name}"),
    )
}

fn with_headers(method: &str, params: &Value, headers: &str) -> Vec<u8> {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: {VERSION}\r\nmcp-method: {method}\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Connection {
    pub async fn open(base_url: &str) -> Result<Self> {
        let address = base_url.strip_prefix("http://").context("an http URL")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Fails when the answer is not a tool's good result.
    pub async fn call(&mut self, request: &[u8]) -> Result<()> {
        let answer = self.ask(request).await?;
        if contains(answer, b"structuredContent") && !contains(answer, b"\"isError\":true") {
            return Ok(());
        }
        bail!("not a good answer: {}", String::from_utf8_lossy(answer));
    }

    /// The whole answer; fails when it is an error of the protocol.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head_end = self.read_until(b"\r\n\r\n", 0).await?;
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        match length {
            Some(length) => {
                while self.buffer.len() < head_end + length {
                    self.read_more().await?;
                }
            }
            None => {
                self.read_until(b"0\r\n\r\n", head_end).await?;
            }
        }
        if !head.starts_with("http/1.1 200") || !contains(&self.buffer, b"\"result\":") {
            bail!("not a good answer: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(&self.buffer)
    }

    async fn read_until(&mut self, end: &[u8], from: usize) -> Result<usize> {
        loop {
            if let Some(at) = self.buffer[from..]
                .windows(end.len())
                .position(|window| window == end)
            {
                return Ok(from + at + end.len());
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => bail!("the server closed the connection"),
            _ => Ok(()),
        }
    }
}

pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
