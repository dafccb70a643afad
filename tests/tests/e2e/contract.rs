//! What the product promises its users, line by line, over the wire: both protocol eras, over HTTP and stdio.

mod admin;
mod audit;
mod builtins;
mod calls;
mod catalog;
mod dependencies;
mod examples;
mod guard;
mod http;
mod limits;
mod pages;
mod policy;
mod profile;
mod progress;
mod resources;
mod revisions;
mod runtimes;
mod schemas;
mod settings;
mod store;

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::server::{AllInOne, NO_POOL};

/// A client for each way to reach the product. Each has a tag, so that tools which several of them make in one registry
/// can have names of their own.
struct Wires {
    /// Held so that it lives as long as its clients.
    _server: AllInOne,
    clients: [(&'static str, McpClient); 4],
}

impl Wires {
    async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::around(AllInOne::start(settings).await?, settings).await
    }

    /// For a test that runs no code.
    async fn without_pool(settings: &[(&str, &str)]) -> Result<Self> {
        let server = AllInOne::start_without_pool(settings).await?;
        Self::around(server, &[&NO_POOL, settings].concat()).await
    }

    async fn around(server: AllInOne, settings: &[(&str, &str)]) -> Result<Self> {
        let clients = [
            ("http-2025", server.client(Era::Legacy).await?),
            ("http-2026", server.client(Era::Modern).await?),
            ("stdio-2025", McpClient::over_stdio(Era::Legacy, settings).await?),
            ("stdio-2026", McpClient::over_stdio(Era::Modern, settings).await?),
        ];
        Ok(Self {
            _server: server,
            clients,
        })
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &McpClient)> {
        self.clients.iter().map(|(tag, client)| (*tag, client))
    }
}
