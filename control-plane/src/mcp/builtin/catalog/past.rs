//! `dynamic.tool.history`, `.diff` and `.rollback`: what a tool was.

use std::time::Duration;

use chrono::SecondsFormat;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use similar::TextDiff;
use tokio::task::spawn_blocking;

use super::view::view_of;
use super::{Answer, manager, written};
use crate::catalog::CatalogError;
use crate::mcp::arguments::Arguments;
use crate::mcp::{McpDeps, result};
use crate::principal::Caller;
use crate::registry::{Past, Revision, ToolRecord};

const PAGE: u64 = 20;
pub(super) const MAX_PAGE: u64 = 100;
const COUNT: &str = "a whole number from 1 to 100";
/// Lines around a change.
const CONTEXT: usize = 3;
/// For the search for the shortest difference.
const SHORTEST: Duration = Duration::from_millis(200);

pub(super) async fn history(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let before = arguments.optional_revision("before")?;
    let limit = arguments.optional_integer("limit", 1, COUNT)?.unwrap_or(PAGE);
    let limit = u32::try_from(limit.min(MAX_PAGE)).unwrap_or(u32::MAX);
    let history = deps.catalog.history(&manager, &name, before, limit).await;
    Ok(history.map(|history| {
        let revisions: Vec<_> = history.revisions.iter().map(entry).collect();
        let mut page = json!({"name": name, "revisions": revisions});
        if let Some(before) = history.next_before {
            page["nextBefore"] = before.into();
        }
        result::shown(page)
    }))
}

pub(super) async fn diff(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let from = arguments.revision("from")?;
    let to = arguments.revision("to")?;
    let revision = |revision: Revision| deps.catalog.revision(&manager, &name, revision);
    let both = async { Ok((revision(from).await?, revision(to).await?)) };
    let (from, to) = match both.await {
        Ok(both) => both,
        Err(refused) => return Ok(Err(refused)),
    };
    // Long texts take a while to compare, and nobody else's call is to wait for it.
    let compared = spawn_blocking(move || difference(&from, &to)).await;
    Ok(match compared {
        Ok((text, structured)) => Ok(result::said(text, structured)),
        Err(_) => Err(CatalogError::Cancelled),
    })
}

pub(super) async fn rollback(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let to = arguments.revision("to")?;
    let expected = arguments.optional_revision("expectedRevision")?;
    let done = deps.catalog.rollback(&manager, &name, to, expected).await;
    Ok(done.map(|done| written(&format!("Rolled back to revision {to}"), &done)))
}

fn entry(past: &Past) -> Value {
    json!({
        "revision": past.revision,
        "action": past.action,
        "contentHash": past.content_hash.as_str(),
        "actor": past.actor,
        "createdAt": past.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "runsOn": past.runs_on.as_str(),
        "codeSizeBytes": past.code_bytes,
    })
}

/// In words, and structured: the code line by line, other fields as they were and are.
fn difference(from: &ToolRecord, to: &ToolRecord) -> (String, Value) {
    let (old, new) = (fields(from), fields(to));
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    let mut changed = JsonObject::new();
    for name in names {
        let (was, is) = (old.get(name), new.get(name));
        if was != is {
            changed.insert(name.clone(), json!({"from": was, "to": is}));
        }
    }
    let code = unified(from, to);
    let (first, second) = (from.revision, to.revision);
    let mut text = match (changed.is_empty(), code.is_empty()) {
        (true, true) => format!("Revisions {first} and {second} do not differ."),
        (true, false) => "The code differs.".to_owned(),
        (false, _) => {
            let names: Vec<_> = changed.keys().map(String::as_str).collect();
            format!("These differ: {}.", names.join(", "))
        }
    };
    if !code.is_empty() {
        text.push('\n');
        text.push_str(&code);
    }
    let structured = json!({
        "from": first,
        "to": second,
        "same": from.content_hash == to.content_hash,
        "changed": changed,
        "code": code,
    });
    (text, structured)
}

/// What an author writes, without the code and without what each revision has of its own.
fn fields(record: &ToolRecord) -> JsonObject {
    let mut fields = match view_of(record, false) {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    };
    for own in [
        "revision",
        "contentHash",
        "createdAt",
        "updatedAt",
        "codeSizeBytes",
    ] {
        fields.remove(own);
    }
    if let Some(lock) = &record.spec.dependency_lock {
        let hash = dynamic_mcp_shared::content::sha256_hex(lock.as_bytes());
        fields.insert("dependencyLockHash".to_owned(), json!(hash));
    }
    fields
}

fn unified(from: &ToolRecord, to: &ToolRecord) -> String {
    let (old, new) = (&from.spec.code, &to.spec.code);
    if old == new {
        return String::new();
    }
    let named = |record: &ToolRecord| format!("revision {}", record.revision);
    // Past it the difference is right, but not the shortest.
    TextDiff::configure()
        .timeout(SHORTEST)
        .diff_lines(old.as_str(), new.as_str())
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&named(from), &named(to))
        .to_string()
}
