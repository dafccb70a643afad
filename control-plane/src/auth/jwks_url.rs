//! The issuer's keys over HTTPS.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::ACCEPT;
use reqwest::{Certificate, Client, Url, redirect};

use super::jwt::KeySource;

/// A hundred keys with their certificates.
const MAX_BYTES: usize = 1 << 20;
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

pub struct JwksUrl {
    client: Client,
    url: Url,
}

impl JwksUrl {
    /// `authority`: PEM of certificates to trust beside the system's.
    ///
    /// # Errors
    /// When the certificates can't be read, or there is no TLS to be had.
    pub fn new(url: Url, authority: Option<&[u8]>) -> Result<Self, String> {
        let mut client = Client::builder()
            // Where the operator points is where the keys are: an answer that points elsewhere is not followed.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_DEADLINE)
            .user_agent(concat!("dynamic-mcp/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = authority {
            let certificates = Certificate::from_pem_bundle(pem).map_err(told)?;
            client = client.tls_certs_merge(certificates);
        }
        if url.scheme() == "http" {
            // Allowed because nobody is in between.
            client = client.no_proxy();
        }
        let client = client.build().map_err(told)?;
        Ok(Self { client, url })
    }
}

#[async_trait]
impl KeySource for JwksUrl {
    async fn fetch(&self) -> Result<Bytes, String> {
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(told)?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("it answers with status {}", response.status().as_u16()));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("its answer is longer than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// With what caused it, without which it says next to nothing, and without the address, which may hold a secret.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
