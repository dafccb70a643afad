//! What an access token costs a request: seen for the first time, and seen before.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_control_plane::auth::jwt::{IssuerKeys, Jwt, JwtConfig, KeySource, Rules};
use dynamic_mcp_control_plane::auth::{ResourceUrl, ScopeNames};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use dynamic_mcp_tests::issuer::{Signer, now};
use serde_json::json;

use crate::load::Samples;
use crate::report::{Goal, Report};

const NEW: usize = 2_000;
const SEEN: usize = 200_000;
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "dynamic-mcp";

struct Published(Bytes);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Bytes, String> {
        Ok(self.0.clone())
    }
}

pub async fn measure(report: &mut Report) -> Result<()> {
    let signer = Signer::new("bench")?;
    let jwt = verifier(&signer).await?;
    let tokens = (0..NEW)
        .map(|number| signer.sign(&claims(number)))
        .collect::<Result<Vec<_>>>()?;
    let first = timed(&jwt, &tokens, NEW).await?;
    report.row("access token (ES256), seen for the first time", &first);
    let again = timed(&jwt, &tokens, SEEN).await?;
    report.row("access token, seen before", &again);
    let micros = again.p50().as_secs_f64() * 1e6;
    report.goal(Goal::at_most("access token seen before, p50, µs", micros, 5.0));
    Ok(())
}

/// Each token once, over and over until there were that many.
async fn timed(jwt: &Jwt, tokens: &[String], count: usize) -> Result<Samples> {
    let mut taken = Vec::with_capacity(count);
    let started = Instant::now();
    for token in tokens.iter().cycle().take(count) {
        let begun = Instant::now();
        black_box(jwt.verify(token).await.context("a good token")?);
        taken.push(begun.elapsed());
    }
    Ok(Samples::new(taken, started.elapsed()))
}

fn claims(number: usize) -> serde_json::Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{number}"), "client_id": "bench", "tenant": "acme",
        "scope": "mcp:call mcp:write", "iat": now(), "exp": now() + 3_600, "jti": number,
    })
}

async fn verifier(signer: &Signer) -> Result<Jwt> {
    let keys = json!({"keys": [signer.jwk()?]}).to_string();
    let keys = IssuerKeys::start(
        Box::new(Published(keys.into())),
        Duration::from_secs(300),
        Readiness::default(),
        &Lifecycle::new(Duration::from_secs(1)),
    )
    .await;
    let rules = Rules {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        tenant: Some("tenant".parse().map_err(anyhow::Error::msg)?),
        leeway: Duration::from_secs(30),
    };
    let config = JwtConfig {
        rules,
        scopes: ScopeNames::default(),
        resource: ResourceUrl::Fixed(AUDIENCE.to_owned()),
    };
    Ok(Jwt::new(config, keys, Arc::new(SystemClock)))
}
