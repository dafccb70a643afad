//! A small MCP client that shows the wire: JSON-RPC over streamable HTTP, in both protocol eras.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

pub use crate::events::{EventStream, answer};
use crate::stdio::StdioServer;

/// An object with further fields.
pub fn with(mut object: Value, further: Value) -> Value {
    if let (Some(object), Value::Object(further)) = (object.as_object_mut(), further) {
        object.extend(further);
    }
    object
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25: `initialize` and a session id.
    Legacy,
    /// 2026-07-28: every request stands alone.
    Modern,
}

impl Era {
    pub const ALL: [Era; 2] = [Era::Legacy, Era::Modern];

    pub const fn version(self) -> &'static str {
        match self {
            Era::Legacy => "2025-11-25",
            Era::Modern => "2026-07-28",
        }
    }
}

pub struct McpClient {
    http: reqwest::Client,
    url: String,
    /// Instead of HTTP.
    stdio: Option<Mutex<StdioServer>>,
    era: Era,
    token: Option<String>,
    session: Option<String>,
    /// Shared by those who speak for the same session.
    next_id: Arc<AtomicU64>,
}

impl McpClient {
    /// # Errors
    /// When the handshake fails.
    pub async fn connect(base_url: &str, era: Era) -> Result<Self> {
        Self::connect_as(base_url, era, None).await
    }

    /// With an access token.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn connect_as(base_url: &str, era: Era, token: Option<&str>) -> Result<Self> {
        let mut client = Self {
            token: token.map(str::to_owned),
            http: reqwest::Client::new(),
            url: format!("{base_url}/mcp"),
            stdio: None,
            era,
            session: None,
            next_id: Arc::new(AtomicU64::new(1)),
        };
        if era == Era::Legacy {
            let params = json!({
                "protocolVersion": era.version(),
                "capabilities": {},
                "clientInfo": {"name": "tests", "version": "1"},
            });
            let response = client.send(&client.request("initialize", params)).await?;
            let session = response.headers().get("mcp-session-id").context("a session id")?;
            client.session = Some(session.to_str()?.to_owned());
            answer(response, 1).await?;
            let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
            let response = client.send(&initialized).await?;
            let status = response.status();
            let said = response.text().await?;
            ensure!(status.is_success(), "initialized: {status} {said}");
        }
        Ok(client)
    }

    /// Over the stdin and stdout of a server of its own.
    ///
    /// # Errors
    /// When it does not start, or the handshake fails.
    pub async fn over_stdio(era: Era, settings: &[(&str, &str)]) -> Result<Self> {
        let server = match era {
            Era::Legacy => StdioServer::start(settings).await?,
            Era::Modern => StdioServer::spawn(settings)?,
        };
        // The handshake has taken the first ids.
        let next_id = Arc::new(AtomicU64::new(100));
        let stdio = Some(Mutex::new(server));
        Ok(Self {
            http: reqwest::Client::new(),
            url: String::new(),
            stdio,
            era,
            token: None,
            session: None,
            next_id,
        })
    }

    /// The same client, in the same session, of another server.
    #[must_use]
    pub fn by(&self, base_url: &str) -> Self {
        Self {
            http: self.http.clone(),
            url: format!("{base_url}/mcp"),
            stdio: None,
            era: self.era,
            token: self.token.clone(),
            session: self.session.clone(),
            next_id: self.next_id.clone(),
        }
    }

    pub fn era(&self) -> Era {
        self.era
    }

    /// For the messages of an assertion.
    pub fn describe(&self) -> String {
        let transport = if self.stdio.is_some() { "stdio" } else { "http" };
        format!("{} over {transport}", self.era.version())
    }

    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// From here on another one's token, or another token.
    pub fn bear(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    fn bearing(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request as this era writes it, with a fresh id.
    pub fn request(&self, method: &str, params: Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut params = match params {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        if self.era == Era::Modern {
            let meta = params.entry("_meta").or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!(self.era.version());
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "tests", "version": "1"});
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// Posts a message with the headers that its era asks for.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&self, message: &Value) -> Result<reqwest::Response> {
        Ok(self.prepare(message).send().await?)
    }

    /// The same before it is sent, for a test that adds to it.
    pub fn prepare(&self, message: &Value) -> reqwest::RequestBuilder {
        let mut request = self
            .bearing(self.http.post(&self.url))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", self.era.version())
            .json(message);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if self.era == Era::Modern {
            request = request.header("mcp-method", message["method"].as_str().unwrap_or_default());
            let named = [&message["params"]["name"], &message["params"]["uri"]];
            if let Some(name) = named.into_iter().find_map(Value::as_str) {
                request = request.header("mcp-name", name);
            }
        }
        request
    }

    /// The `result` of a request.
    ///
    /// # Errors
    /// When the answer is an error, with its code and message.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        let answer = self.ask_raw(method, params).await?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{method}: {}", answer["error"]),
        }
    }

    /// The whole answer of a request, error or not.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not JSON-RPC.
    pub async fn ask_raw(&self, method: &str, params: Value) -> Result<Value> {
        let message = self.request(method, params);
        let id = message["id"].as_u64().context("an id")?;
        if let Some(stdio) = &self.stdio {
            let mut server = stdio.lock().await;
            server.write(&message).await?;
            return server.answer(id).await;
        }
        answer(self.send(&message).await?, id).await
    }

    /// Calls a tool; answers the whole `CallToolResult`, be it an error or not.
    ///
    /// # Errors
    /// When the answer is a protocol error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Calls a tool; answers its structured content.
    ///
    /// # Errors
    /// When the call is an error of either kind.
    pub async fn structured(&self, tool: &str, arguments: Value) -> Result<Value> {
        let result = self.call(tool, arguments).await?;
        if result["isError"] == true {
            bail!("{tool}: {result}");
        }
        Ok(result["structuredContent"].clone())
    }

    /// Calls a tool that has to refuse; answers what it says to a person.
    ///
    /// # Errors
    /// When the call is not a tool error.
    pub async fn refusal(&self, tool: &str, arguments: Value) -> Result<String> {
        let result = self.call(tool, arguments).await?;
        if result["isError"] != true {
            bail!("{tool} did not refuse: {result}");
        }
        Ok(result["content"][0]["text"]
            .as_str()
            .context("a text")?
            .to_owned())
    }

    /// Makes a tool of that name from that body, with further fields of the draft.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_tool(&self, name: &str, code: &str, further: Value) -> Result<Value> {
        let tool = json!({"name": name, "description": format!("The test's {name}."), "code": code});
        let tool = with(tool, further);
        self.structured("dynamic.tool.create", json!({"tool": tool}))
            .await
    }

    /// The names of all tools, over all pages.
    ///
    /// # Errors
    /// When a page is an error.
    pub async fn tool_names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let params = if cursor.is_null() {
                json!({})
            } else {
                json!({"cursor": cursor})
            };
            let page = self.ask("tools/list", params).await?;
            let tools = page["tools"].as_array().context("tools")?;
            names.extend(
                tools
                    .iter()
                    .filter_map(|tool| tool["name"].as_str().map(str::to_owned)),
            );
            cursor = page["nextCursor"].clone();
            if cursor.is_null() {
                return Ok(names);
            }
        }
    }

    /// A tool as `tools/list` shows it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn listed(&self, name: &str) -> Result<Value> {
        let page = self.ask("tools/list", json!({})).await?;
        let tools = page["tools"].as_array().context("tools")?;
        tools
            .iter()
            .find(|tool| tool["name"] == name)
            .cloned()
            .with_context(|| format!("{name} is not listed"))
    }

    /// Subscribes to changes of the tools, as 2026-07-28 does it; nothing has been read from the stream yet.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn listen(&self) -> Result<EventStream> {
        let message = self.request(
            "subscriptions/listen",
            json!({"notifications": {"toolsListChanged": true}}),
        );
        Ok(EventStream::new(self.send(&message).await?.error_for_status()?))
    }

    /// Ends a legacy session.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn end_session(&self) -> Result<reqwest::Response> {
        let mut request = self
            .bearing(self.http.delete(&self.url))
            .header("mcp-protocol-version", self.era.version());
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        Ok(request.send().await?)
    }

    /// Opens the stream on which a legacy session gets its notifications.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn notifications(&self) -> Result<EventStream> {
        self.read_on(None).await
    }

    /// Opens it anew, or a request's own stream, after the event of that id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn read_on(&self, after: Option<&str>) -> Result<EventStream> {
        let mut request = self
            .bearing(self.http.get(&self.url))
            .header("accept", "text/event-stream");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request
            .header("mcp-protocol-version", self.era.version())
            .send()
            .await?
            .error_for_status()?;
        Ok(EventStream::new(response))
    }
}
