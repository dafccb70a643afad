//! Who may come in over HTTP with tokens of an issuer, what they may, and for how long.

mod attacks;
mod bodies;
mod challenges;
mod dev_issuer;
mod docker;
mod expiry;
mod handles;
mod keys;
mod limits;
mod names;
mod schemas;
mod scopes;
mod shared;
mod smuggling;
mod tenants;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::issuer::Issuer;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::AllInOne;
use reqwest::Response;
use serde_json::{Value, json};

/// A server that takes the tokens of an issuer's. Code runs in isolates: what is tested here is in front of it.
struct Scene {
    issuer: Issuer,
    server: AllInOne,
}

impl Scene {
    async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    async fn start_with(further: &[(&str, &str)]) -> Result<Self> {
        let issuer = Issuer::start().await?;
        let server = Self::server(&issuer, further).await?;
        Ok(Self { issuer, server })
    }

    async fn server(issuer: &Issuer, further: &[(&str, &str)]) -> Result<AllInOne> {
        let auth = issuer.settings();
        let auth = auth.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = auth
            .chain(On::Isolate.settings().iter().copied())
            .chain(further.iter().copied())
            .collect();
        AllInOne::start(&settings).await
    }

    /// With a good token, changed.
    async fn client(&self, era: Era, change: Value) -> Result<McpClient> {
        let token = self.issuer.token(&change)?;
        McpClient::connect_as(&self.server.base_url, era, Some(&token)).await
    }

    /// Whatever was tried, another tenant is served as before.
    async fn neighbour_is_served(&self) -> Result<()> {
        let neighbour = self.client(Era::Modern, json!({"tenant": "neighbour"})).await?;
        let answer = neighbour
            .structured("dev.echo", json!({"message": "here"}))
            .await?;
        ensure!(answer["message"] == "here", "the neighbour was answered {answer}");
        Ok(())
    }

    /// A request of the newest era, as one that bears no token makes it.
    async fn knock(&self) -> Result<McpClient> {
        McpClient::connect(&self.server.base_url, Era::Modern).await
    }

    /// What a request with that token is answered.
    async fn answer(&self, token: &str) -> Result<Response> {
        let client = McpClient::connect_as(&self.server.base_url, Era::Modern, Some(token)).await?;
        client.send(&client.request("tools/list", json!({}))).await
    }
}

fn challenge(response: &Response) -> &str {
    let header = response.headers().get("www-authenticate");
    header.and_then(|header| header.to_str().ok()).unwrap_or_default()
}
