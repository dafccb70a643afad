//! Takes over the tools of a JSON store that the Node.js version wrote, once, into the SQLite file beside it.
//!
//! | `MCP_DYNAMIC_STORE` is            | the database is       | taken over is                    |
//! |-----------------------------------|-----------------------|----------------------------------|
//! | a JSON file, or named `x.json`    | `x.sqlite` beside it  | that file, if it exists          |
//! | anything else, `x.sqlite`, say    | that path             | `x.json` beside it, if it exists |
//!
//! The JSON file is left as it is. The database notes what it took over, and an entry that is no valid tool stops the
//! start before anything is written. Dependencies were not locked there: a tool that has some is resolved
//! anew when it is called, until it is written again (`dynamic.tool.update`), which locks them.

mod entry;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::content::sha256_hex;
use dynamic_mcp_shared::ids::TenantId;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::sqlite::SqliteStatements;
use super::write::{Action, Statements, revision_of};
use super::{OpenError, RegistryError, ToolRecord};

const ACTOR: &str = "import";
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const MAX_FAULTS_SHOWN: usize = 20;

pub(super) struct Location {
    pub(super) database: PathBuf,
    /// The JSON store to take over.
    pub(super) json: Option<PathBuf>,
}

pub(super) fn locate(path: &Path) -> Result<Location, OpenError> {
    let is_json = |path: &Path| {
        looks_like_json(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })
    };
    let named_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json(path)? || named_json {
        let mut database = path.with_extension("sqlite");
        if database == path {
            let mut name = OsString::from(path);
            name.push(".sqlite");
            database = name.into();
        }
        let json = path.exists().then(|| path.to_owned());
        return Ok(Location { database, json });
    }
    let beside = path.with_extension("json");
    let json = is_json(&beside)?.then_some(beside);
    Ok(Location {
        database: path.to_owned(),
        json,
    })
}

/// Whether the first byte that isn't white space opens an object or an array.
fn looks_like_json(path: &Path) -> std::io::Result<bool> {
    if !path.is_file() {
        return Ok(false);
    }
    let mut start = Vec::with_capacity(4096);
    std::fs::File::open(path)?.take(4096).read_to_end(&mut start)?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    Ok(matches!(first, Some(b'{' | b'[')))
}

/// Runs inside the transaction that opens the store.
pub(super) async fn import_once(
    connection: &mut SqliteConnection,
    path: &Path,
    now: DateTime<Utc>,
) -> Result<(), OpenError> {
    let text = read(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })?;
    let sha256 = sha256_hex(&text);
    let failed = |source: sqlx::Error| OpenError::Sqlite {
        step: "import",
        path: path.to_owned(),
        source: source.into(),
    };
    // By the file's name, so that the folder can be moved.
    let source = path.file_name().unwrap_or_default().to_string_lossy();
    let imported: Option<String> = sqlx::query_scalar("SELECT sha256 FROM imports WHERE source = ?1")
        .bind(&*source)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    if let Some(imported) = imported {
        if imported != sha256 {
            let path = path.display();
            tracing::warn!(%path, "the JSON store changed after it was imported; the change is not taken over");
        }
        return Ok(());
    }

    let refused = |faults| OpenError::Import {
        path: path.to_owned(),
        faults: list(faults),
    };
    let records = parse(&text, now).map_err(refused)?;
    store(connection, &records).await.map_err(refused)?;
    sqlx::query("INSERT INTO imports (source, sha256, tools, imported_at) VALUES (?1, ?2, ?3, ?4)")
        .bind(&*source)
        .bind(&sha256)
        .bind(i64::try_from(records.len()).unwrap_or(i64::MAX))
        .bind(now.timestamp_millis())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    report(path, &records);
    Ok(())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// The records in the file, or what is wrong with each entry that can't be one.
fn parse(text: &[u8], now: DateTime<Utc>) -> Result<Vec<ToolRecord>, Vec<String>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let store: Value =
        serde_json::from_slice(text).map_err(|error| vec![format!("it is not JSON: {error}")])?;
    let entries = match store.get("tools").unwrap_or(&store) {
        Value::Array(entries) => entries.iter().map(|entry| (None, entry)).collect::<Vec<_>>(),
        Value::Object(entries) if store.get("tools").is_some() => entries
            .iter()
            .map(|(name, entry)| (Some(name.as_str()), entry))
            .collect(),
        _ => return Err(vec!["it has no list or map of tools under \"tools\"".to_owned()]),
    };
    let mut records: Vec<ToolRecord> = Vec::with_capacity(entries.len());
    let mut faults = Vec::new();
    for (index, (key, entry)) in entries.into_iter().enumerate() {
        let named = key.or_else(|| entry.get("name").and_then(Value::as_str));
        let shown = named.map_or_else(
            || format!("tools[{index}]"),
            |name| format!("tools[{index}] {name:?}"),
        );
        match entry::record(key, entry, now) {
            Ok(record) if records.iter().any(|other| other.spec.name == record.spec.name) => {
                faults.push(format!("{shown}: another entry has the same name"));
            }
            Ok(record) => records.push(record),
            Err(problem) => faults.push(format!("{shown}: {problem}")),
        }
    }
    if faults.is_empty() {
        Ok(records)
    } else {
        Err(faults)
    }
}

async fn store(connection: &mut SqliteConnection, records: &[ToolRecord]) -> Result<(), Vec<String>> {
    let tenant = TenantId::default();
    let mut sql = SqliteStatements {
        connection,
        tenant: &tenant,
    };
    let mut faults = Vec::new();
    for record in records {
        if let Err(problem) = store_one(&mut sql, record).await {
            faults.push(format!("{:?}: {problem}", record.spec.name.as_str()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

async fn store_one(sql: &mut impl Statements, record: &ToolRecord) -> Result<(), String> {
    let words = |error: RegistryError| match error {
        RegistryError::Unavailable { detail } => detail,
        other => other.to_string(),
    };
    let name = &record.spec.name;
    if sql.current(name).await.map_err(words)?.is_some() {
        return Err("the database has a tool of that name already".to_owned());
    }
    // A tool of that name that was deleted here leaves revisions, which are not given out twice.
    let last = sql.last_revision(name).await.map_err(words)?;
    let record = ToolRecord {
        revision: record.revision.max(last + 1),
        ..record.clone()
    };
    sql.append(revision_of(&record, Action::Import, ACTOR))
        .await
        .map_err(words)?;
    sql.insert(&record).await.map_err(words)
}

fn report(path: &Path, records: &[ToolRecord]) {
    let unlocked: Vec<&str> = records
        .iter()
        .filter(|record| !record.spec.dependencies.is_empty())
        .map(|record| record.spec.name.as_str())
        .collect();
    tracing::info!(path = %path.display(), tools = records.len(), "imported the JSON store");
    if !unlocked.is_empty() {
        tracing::warn!(
            tools = unlocked.join(", "),
            "these imported tools have dependencies without a lock, which are resolved anew when they are called; \
             dynamic.tool.update locks them"
        );
    }
}

fn list(mut faults: Vec<String>) -> String {
    let more = faults.len().saturating_sub(MAX_FAULTS_SHOWN);
    faults.truncate(MAX_FAULTS_SHOWN);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    faults.join("; ") + &more
}
