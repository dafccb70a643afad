//! An issuer of access tokens for trying things out on one machine: it asks nobody who they are. Not part of the server:
//! `dynamic-mcp dev-issuer` publishes its key, `dynamic-mcp token` signs with it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::routing::get;
use axum::{Json, Router};
use clap::{Args, Subcommand};
use dynamic_mcp_shared::clock::{Clock, SystemClock};
use dynamic_mcp_shared::ids::TenantId;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const KEY_FILE: &str = "dev-issuer.key";
const ADDRESS: &str = "127.0.0.1:8790";
const AUDIENCE: &str = "dynamic-mcp";
const SCOPES: &str = "mcp:call mcp:write mcp:sandbox";

#[derive(Debug, Clone, Subcommand)]
pub enum DevCommand {
    /// Publish the key of a development-only issuer, for MCP_AUTH_MODE=jwt on this machine
    DevIssuer(IssuerArgs),
    /// Print an access token of the development-only issuer
    Token(TokenArgs),
}

#[derive(Debug, Clone, Args)]
pub struct IssuerArgs {
    /// Address to listen on, of this machine only
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    pub bind: SocketAddr,
}

#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Who its bearer is
    #[arg(long, value_name = "NAME", default_value = "developer")]
    pub subject: String,

    /// Whose tools its bearer uses
    #[arg(long, value_name = "TENANT", default_value = "default")]
    pub tenant: TenantId,

    /// What its bearer may, separated by spaces; mcp:admin is not among the default
    #[arg(long, value_name = "SCOPES", default_value = SCOPES)]
    pub scope: String,

    /// How long it is good for
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3_600,
        value_parser = clap::value_parser!(u32).range(1..=2_592_000)
    )]
    pub ttl_seconds: u32,

    /// MCP_AUTH_AUDIENCE of the server
    #[arg(long, value_name = "AUDIENCE", default_value = AUDIENCE)]
    pub audience: String,

    /// Address of the issuer: MCP_AUTH_ISSUER of the server
    #[arg(long, value_name = "URL", default_value_t = format!("http://{ADDRESS}"))]
    pub issuer: String,
}

/// # Errors
/// When the key can't be read or made, or the address is not this machine's.
pub async fn run(command: &DevCommand, state_dir: &Path) -> anyhow::Result<()> {
    let key = Key::open(state_dir)?;
    match command {
        DevCommand::DevIssuer(args) => serve(args, &key).await,
        DevCommand::Token(args) => {
            say(&key.token(args)?);
            Ok(())
        }
    }
}

async fn serve(args: &IssuerArgs, key: &Key) -> anyhow::Result<()> {
    ensure!(
        args.bind.ip().is_loopback(),
        "--bind {}: the development-only issuer serves this machine alone; use an address such as {ADDRESS}",
        args.bind
    );
    let listener = TcpListener::bind(args.bind)
        .await
        .with_context(|| format!("--bind {} can't be bound", args.bind))?;
    let issuer = format!("http://{}", listener.local_addr()?);
    say(&format!(
        "# A development-only issuer: whoever can read {} can be anybody. Start the server with\n\
         MCP_TRANSPORT=http MCP_AUTH_MODE=jwt MCP_AUTH_JWKS_URL={issuer}/jwks.json MCP_AUTH_ISSUER={issuer} \
         MCP_AUTH_AUDIENCE={AUDIENCE} MCP_AUTH_TENANT_CLAIM=tenant dynamic-mcp\n\
         # and get a token with\n\
         dynamic-mcp token --issuer {issuer} --tenant acme",
        key.file.display()
    ));
    let keys = json!({"keys": [key.jwk]});
    let about = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks.json"),
        "response_types_supported": [],
        "id_token_signing_alg_values_supported": ["ES256"],
        "subject_types_supported": ["public"],
    });
    let answer = |value: Value| get(async move || Json(value.clone()));
    let router = Router::new()
        .route("/jwks.json", answer(keys))
        .route("/.well-known/openid-configuration", answer(about.clone()))
        .route("/.well-known/oauth-authorization-server", answer(about));
    let stop = async {
        let _no_signal = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// Kept in a file, so that tokens can be made beside the issuer and outlive its restarts.
struct Key {
    file: PathBuf,
    signing: EncodingKey,
    jwk: Jwk,
    kid: String,
}

impl Key {
    fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let file = state_dir.join(KEY_FILE);
        let der = match fs::read(&file) {
            Ok(der) => der,
            Err(error) if error.kind() == ErrorKind::NotFound => make(&file)?,
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let signing = EncodingKey::from_ec_der(&der);
        let wrong = || {
            format!(
                "{} holds no key; delete it, and another one is made",
                file.display()
            )
        };
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).with_context(wrong)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        Ok(Self {
            file,
            signing,
            jwk,
            kid,
        })
    }

    fn token(&self, args: &TokenArgs) -> anyhow::Result<String> {
        let now = SystemClock.now().timestamp();
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        let claims = json!({
            "iss": args.issuer,
            "aud": args.audience,
            "sub": args.subject,
            "client_id": "dynamic-mcp-token",
            "tenant": args.tenant,
            "scope": args.scope,
            "iat": now,
            "exp": now + i64::from(args.ttl_seconds),
        });
        Ok(encode(&header, &claims, &self.signing)?)
    }
}

/// For its owner's eyes only.
fn make(file: &Path) -> anyhow::Result<Vec<u8>> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("no key could be made"))?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    made.and_then(|mut key| key.write_all(pkcs8.as_ref()))
        .with_context(|| file.display().to_string())?;
    Ok(pkcs8.as_ref().to_vec())
}

#[expect(clippy::print_stdout, reason = "what it prints is what it is for")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: DevCommand,
    }

    fn token(directory: &Path) -> String {
        let Line {
            command: DevCommand::Token(args),
        } = Line::parse_from(["x", "token", "--tenant=acme"])
        else {
            panic!("another command");
        };
        Key::open(directory).unwrap().token(&args).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let first = Key::open(directory.path()).unwrap();
        let second = Key::open(directory.path()).unwrap();
        assert_eq!(first.kid, second.kid);
        let mode = fs::metadata(&first.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_names_its_key_and_its_tenant() {
        let directory = tempfile::tempdir().unwrap();
        let token = token(directory.path());
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid, Some(Key::open(directory.path()).unwrap().kid));
        let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(&token).unwrap_or_default();
        assert_eq!(claims["tenant"], "acme");
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), "no key").unwrap();
        let error = Key::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains(KEY_FILE) && error.contains("delete it"), "{error}");
    }
}
