//! `dynamic.tool.history`, `.diff` and `.rollback`: what a tool was.

use chrono::SecondsFormat;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use similar::TextDiff;

use super::view::view;
use super::{Answer, expected_revision, written};
use crate::mcp::arguments::Arguments;
use crate::mcp::{McpDeps, result};
use crate::principal::Caller;
use crate::registry::{Past, Revision};

const PAGE: u64 = 20;
pub(super) const MAX_PAGE: u64 = 100;
const COUNT: &str = "a whole number from 1 to 100";
const REVISION: &str = "a whole number from 1";
/// Lines around a change.
const CONTEXT: usize = 3;

pub(super) async fn history(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let token = arguments.secret("adminToken")?;
    let name = arguments.string("name")?;
    let before = arguments.optional_integer("before", 1, REVISION)?;
    let limit = arguments.optional_integer("limit", 1, COUNT)?.unwrap_or(PAGE);
    let limit = u32::try_from(limit.min(MAX_PAGE)).unwrap_or(u32::MAX);
    // One more, to know whether there are more.
    let past = deps
        .catalog
        .history(caller, token.as_deref(), &name, before, limit + 1)
        .await;
    Ok(past.map(|mut past| {
        let more = past.len() > limit as usize;
        past.truncate(limit as usize);
        let mut page = json!({"name": name, "revisions": past.iter().map(entry).collect::<Vec<_>>()});
        if let (true, Some(last)) = (more, past.last()) {
            page["nextBefore"] = last.record.revision.into();
        }
        result::shown(page)
    }))
}

pub(super) async fn diff(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let token = arguments.secret("adminToken")?;
    let name = arguments.string("name")?;
    let from = arguments.integer("from", 1, REVISION)?;
    let to = arguments.integer("to", 1, REVISION)?;
    let revision = |revision: Revision| deps.catalog.revision(caller, token.as_deref(), &name, revision);
    let both = async { Ok((revision(from).await?, revision(to).await?)) };
    Ok(both.await.map(|(from, to)| {
        let (text, structured) = difference(&from, &to);
        result::said(text, structured)
    }))
}

pub(super) async fn rollback(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let token = arguments.secret("adminToken")?;
    let name = arguments.string("name")?;
    let to = arguments.integer("to", 1, REVISION)?;
    let expected = expected_revision(&mut arguments)?;
    let done = deps
        .catalog
        .rollback(caller, token.as_deref(), &name, to, expected)
        .await;
    Ok(done.map(|done| written(&format!("Rolled back to revision {to}"), &done)))
}

fn entry(past: &Past) -> Value {
    let record = &past.record;
    json!({
        "revision": record.revision,
        "action": past.action,
        "contentHash": record.content_hash.as_str(),
        "actor": past.actor,
        "createdAt": record.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "runsOn": record.spec.runs_on.as_str(),
        "codeSizeBytes": record.spec.code.len(),
    })
}

/// In words, and structured: the code line by line, other fields as they were and are.
fn difference(from: &Past, to: &Past) -> (String, Value) {
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
    let (first, second) = (from.record.revision, to.record.revision);
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
        "same": from.record.content_hash == to.record.content_hash,
        "changed": changed,
        "code": code,
    });
    (text, structured)
}

/// What an author writes, without the code and without what each revision has of its own.
fn fields(past: &Past) -> JsonObject {
    let mut fields = match view(&past.record, false) {
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
    if let Some(lock) = &past.record.spec.dependency_lock {
        let hash = dynamic_mcp_shared::content::sha256_hex(lock.as_bytes());
        fields.insert("dependencyLockHash".to_owned(), json!(hash));
    }
    fields
}

fn unified(from: &Past, to: &Past) -> String {
    let (old, new) = (&from.record.spec.code, &to.record.spec.code);
    if old == new {
        return String::new();
    }
    let named = |past: &Past| format!("revision {}", past.record.revision);
    TextDiff::from_lines(old.as_str(), new.as_str())
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&named(from), &named(to))
        .to_string()
}
