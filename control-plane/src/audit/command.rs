//! `dynamic-mcp audit verify`: whether what was done can still be proved, for an auditor with the stores and the keys and
//! without a running server.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use secrecy::SecretString;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::chain::{AuditKey, KeyRing};
use super::record::StoreKind;
use super::store::{Anchor, AnchorFile, PostgresAudit, anchors, may_see_all, place};
use super::verify::{Anchors, Verified, gone, verify_files, verify_store};
use super::{KeyFile, StoreError};
use crate::config::Config;

const TAMPERED: u8 = 1;
const UNCHECKED: u8 = 2;

#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Check that nothing of the audit was changed, left out, moved or cut off. Exit code 0: nothing was; 1: something was; 2:
    /// it could not be checked
    Verify(VerifyArgs),
}

#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The audit file, whose older ones stand beside it; the server's own if not given
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// A key that the log was made with; may be given several times. The server's own if not given
    #[arg(long, value_name = "FILE")]
    pub key_file: Vec<PathBuf>,

    /// The database that has the audit too, for the owner of its tables or a role that may read every tenant's; the server's
    /// own if not given. A password is better put into PGPASSWORD
    #[arg(long, value_name = "URL", hide_env_values = true, value_parser = parse_url)]
    pub database_url: Option<SecretString>,

    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Where the server of these settings keeps its audit.
#[derive(Debug, Clone)]
pub struct AuditPlaces {
    pub file: PathBuf,
    pub key: KeyFile,
    /// The SQLite store of tools, if there is one.
    pub sqlite: Option<PathBuf>,
    pub postgres: Option<SecretString>,
    pub schema: String,
}

fn parse_url(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Never an error: what could not be checked is an exit code of its own.
pub async fn run(command: &AuditCommand, config: &Config) -> ExitCode {
    let AuditCommand::Verify(args) = command;
    let verified = async {
        // Whoever names the database need not have the server's settings.
        let places = config.audit_places(args.database_url.is_none())?;
        verify(args, places).await
    };
    match verified.await {
        Ok(verified) => {
            let tampered = verified.iter().any(|store| !store.findings.is_empty());
            say(&if args.json {
                json!({ "verified": !tampered, "stores": verified }).to_string()
            } else {
                verified.iter().map(in_words).collect::<Vec<_>>().join("\n")
            });
            if tampered {
                ExitCode::from(TAMPERED)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(UNCHECKED)
        }
    }
}

/// Answers what came of each store.
///
/// # Errors
/// When something could not be checked.
pub async fn verify(args: &VerifyArgs, places: AuditPlaces) -> anyhow::Result<Vec<Verified>> {
    let keys = keys(args, &places)?;
    let read_at = SystemClock.now();
    let url = args.database_url.as_ref().or(places.postgres.as_ref());
    let mut verified = Vec::new();
    let anchors = match url {
        Some(url) => {
            let (store, anchors) = in_postgres(url, &places.schema, &keys).await?;
            verified.push(store);
            Some((StoreKind::Postgres, anchors))
        }
        None => beside_sqlite(&places)
            .await?
            .map(|anchors| (StoreKind::Sqlite, anchors)),
    };
    let file = args.file.clone().unwrap_or_else(|| places.file.clone());
    let anchors = anchors.map(|(kind, all)| Anchors {
        kind,
        all,
        read_at,
        place: place(&file),
    });
    let path = file.clone();
    let files = spawn_blocking(move || match verify_files(&path, &keys, anchors.as_ref()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(anchors.and_then(|anchors| gone(&path, &anchors)))
        }
        other => other.map(Some),
    });
    match files
        .await?
        .with_context(|| format!("{} can't be read", file.display()))?
    {
        Some(files) => verified.push(files),
        // An auditor may have the database alone.
        None if url.is_some() && args.file.is_none() => {}
        None => bail!(
            "{} is not there; --file names the audit file (MCP_AUDIT_FILE)",
            file.display()
        ),
    }
    Ok(verified)
}

fn keys(args: &VerifyArgs, places: &AuditPlaces) -> anyhow::Result<KeyRing> {
    let own = vec![places.key.path().to_owned()];
    let files = if args.key_file.is_empty() {
        &own
    } else {
        &args.key_file
    };
    let keys = files
        .iter()
        .map(|file| AuditKey::read(file).context("--key-file"))
        .collect::<anyhow::Result<_>>()?;
    Ok(KeyRing::new(keys))
}

async fn in_postgres(
    url: &SecretString,
    schema: &str,
    keys: &KeyRing,
) -> anyhow::Result<(Verified, Vec<Anchor>)> {
    let failed = |error: StoreError| anyhow::anyhow!("{}", error.explained());
    let store = PostgresAudit::new(url, schema).map_err(failed)?;
    let mut transaction = store.reading("app.audit_verify", "on").await.map_err(failed)?;
    if !may_see_all(&mut transaction).await.map_err(failed)? {
        bail!(
            "this role sees one tenant at a time: --database-url must be that of the owner of the tables, or of a role \
             that may read every tenant's audit"
        );
    }
    let anchors = anchors(&mut transaction).await.map_err(failed)?;
    let verified = verify_store(&mut transaction, &anchors, keys)
        .await
        .map_err(failed)?;
    Ok((verified, anchors))
}

/// `None` where there never was such a file.
async fn beside_sqlite(places: &AuditPlaces) -> anyhow::Result<Option<Vec<Anchor>>> {
    let Some(store) = &places.sqlite else {
        return Ok(None);
    };
    let mut file = AnchorFile::beside(store);
    if !file.path().exists() {
        return Ok(None);
    }
    let anchors = file.all().await;
    anchors
        .map(Some)
        .map_err(|error| anyhow::anyhow!("{}: {}", file.path().display(), error.explained()))
}

fn in_words(store: &Verified) -> String {
    let mut text = String::new();
    let verdict = match store.findings.len() as u64 + store.further_findings {
        0 => "verified".to_owned(),
        1 => "TAMPERED WITH, 1 finding".to_owned(),
        count => format!("TAMPERED WITH, {count} findings"),
    };
    let (lines, chains) = (store.lines, store.chains);
    let _infallible = writeln!(
        text,
        "{}: {lines} lines of {chains} chains: {verdict}",
        store.store
    );
    for finding in &store.findings {
        let _infallible = write!(text, "  FOUND");
        if !finding.at.is_empty() {
            let _infallible = write!(text, " {}", finding.at);
        }
        if let (Some(chain), Some(seq)) = (finding.chain, finding.seq) {
            let _infallible = write!(text, " (chain {chain}, line {seq})");
        }
        let _infallible = writeln!(text, ": {}", finding.what);
    }
    if store.further_findings > 0 {
        let _infallible = writeln!(text, "  FOUND {} more", store.further_findings);
    }
    for chain in &store.unclosed {
        let (id, seq, ts) = (chain.chain, chain.last_seq, &chain.last_ts);
        let open = chain.open.len();
        let _infallible = writeln!(
            text,
            "  chain {id} was not closed: its server runs still, or was killed after line {seq} at {ts}; open were {open} entries"
        );
        for entry in &chain.open {
            let target = entry.target.as_deref().unwrap_or("-");
            let _infallible = writeln!(
                text,
                "    {} {} {target} of tenant {}, opened at {}",
                entry.id, entry.action, entry.tenant, entry.ts
            );
        }
    }
    for note in &store.notes {
        let _infallible = writeln!(text, "  {note}");
    }
    text.truncate(text.trim_end().len());
    text
}

#[expect(clippy::print_stdout, reason = "what it prints is what it is for")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "there is no logger")]
fn complain(text: &str) {
    eprintln!("dynamic-mcp: {text}");
}
