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
         mcp-name: {name}\r\ncontent-length: {length}\r\n\r\n{body}"
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
        let good = head.starts_with("http/1.1 200") && contains(&self.buffer, b"structuredContent");
        if !good || contains(&self.buffer, b"\"isError\":true") {
            bail!("not a good answer: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(())
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

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
