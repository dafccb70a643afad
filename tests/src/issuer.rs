//! An issuer of access tokens, as one finds them: it publishes keys, rotates them, is slow, lies and goes away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use http::{StatusCode, header};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::with;

pub const AUDIENCE: &str = "the-server-of-the-tests";

/// How it answers who asks for its keys.
#[derive(Debug, Clone)]
pub enum Answers {
    Keys,
    Text(String),
    Status(StatusCode),
    Elsewhere(String),
    Late(Duration),
    /// Without end.
    Huge,
}

pub struct Issuer {
    pub url: String,
    shared: Arc<Shared>,
    /// Ends with the issuer.
    _serving: JoinSet<std::io::Result<()>>,
}

struct Shared {
    answers: Mutex<Answers>,
    signers: Mutex<Vec<Signer>>,
    asked: Mutex<u32>,
}

#[derive(Clone)]
pub struct Signer {
    pub kid: String,
    pub key: EncodingKey,
}

impl Signer {
    /// # Errors
    /// When no key can be made.
    pub fn new(kid: &str) -> Result<Self> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| anyhow!("no key"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
        })
    }

    /// # Errors
    /// When it can't be written.
    pub fn jwk(&self) -> Result<Value> {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256)?;
        jwk.common.key_id = Some(self.kid.clone());
        Ok(serde_json::to_value(jwk)?)
    }

    /// # Errors
    /// When the claims can't be signed.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        Ok(encode(&header, claims, &self.key)?)
    }
}

impl Issuer {
    /// # Errors
    /// When it can't listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            answers: Mutex::new(Answers::Keys),
            signers: Mutex::new(vec![Signer::new("first")?]),
            asked: Mutex::new(0),
        });
        let router = Router::new().route("/jwks", get(keys)).with_state(shared.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url,
            shared,
            _serving: serving,
        })
    }

    /// What makes a server take its tokens, with the tenant from the claim `tenant`.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MCP_AUTH_MODE", "jwt".to_owned()),
            ("MCP_AUTH_ISSUER", self.url.clone()),
            ("MCP_AUTH_JWKS_URL", format!("{}/jwks", self.url)),
            ("MCP_AUTH_AUDIENCE", AUDIENCE.to_owned()),
            ("MCP_AUTH_TENANT_CLAIM", "tenant".to_owned()),
        ]
    }

    pub fn answer(&self, answers: Answers) {
        *self.shared.answers.lock() = answers;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> u32 {
        *self.shared.asked.lock()
    }

    /// The key that it signs with now.
    pub fn signer(&self) -> Signer {
        self.shared.signers.lock()[0].clone()
    }

    /// From here on it signs with another key and publishes only that one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rotate(&self, kid: &str) -> Result<()> {
        *self.shared.signers.lock() = vec![Signer::new(kid)?];
        Ok(())
    }

    /// The claims of a good token with every scope but the administrator's, changed; what is `null` is left out.
    pub fn claims(&self, change: &Value) -> Value {
        let now = now();
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "client_id": "tests", "tenant": "acme",
            "scope": "mcp:call mcp:write mcp:sandbox", "iat": now, "exp": now + 600,
        });
        let mut claims = with(claims, change.clone());
        if let Some(claims) = claims.as_object_mut() {
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }

    /// # Errors
    /// When it can't be signed.
    pub fn token(&self, change: &Value) -> Result<String> {
        self.signer().sign(&self.claims(change))
    }
}

/// In seconds since 1970.
pub fn now() -> i64 {
    SystemClock.now().timestamp()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    *shared.asked.lock() += 1;
    let answers = shared.answers.lock().clone();
    let published = || {
        let signers = shared.signers.lock();
        let keys: Vec<_> = signers.iter().filter_map(|signer| signer.jwk().ok()).collect();
        json!({"keys": keys}).to_string()
    };
    match answers {
        Answers::Keys => published().into_response(),
        Answers::Text(text) => text.into_response(),
        Answers::Status(status) => (status, published()).into_response(),
        Answers::Elsewhere(url) => (StatusCode::FOUND, [(header::LOCATION, url)]).into_response(),
        Answers::Late(by) => {
            tokio::time::sleep(by).await;
            published().into_response()
        }
        Answers::Huge => {
            let chunk = bytes::Bytes::from(vec![b' '; 64 << 10]);
            let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            axum::body::Body::from_stream(endless).into_response()
        }
    }
}
