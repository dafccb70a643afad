//! An entry's line as JSON, without its seal, never longer than it may be.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::timestamp;

pub(super) struct Line<'a> {
    pub(super) id: &'a str,
    pub(super) tenant: &'a str,
    pub(super) subject: &'a str,
    pub(super) client: &'a str,
    pub(super) request_id: &'a str,
    pub(super) trace_id: Option<&'a str>,
    pub(super) action: &'static str,
    pub(super) target: Option<&'a str>,
    pub(super) revision: Option<u64>,
    pub(super) details: &'a Map<String, Value>,
    pub(super) closing: Option<Closing>,
}

pub(super) struct Closing {
    pub(super) verdict: &'static str,
    pub(super) outcome: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) duration: Duration,
}

/// In the order in which a person reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    ts: &'a str,
    phase: &'static str,
    id: &'a str,
    tenant: Cow<'a, str>,
    subject: Cow<'a, str>,
    client: Cow<'a, str>,
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
}

/// With its newline. Details that make it longer than `max_bytes` are replaced by a mark.
pub(super) fn to_bytes(line: &Line<'_>, now: DateTime<Utc>, max_bytes: usize) -> Vec<u8> {
    let ts = timestamp(now);
    // What a caller chose is cut so short that everything but the details fits, whatever it holds.
    let longest = (max_bytes / 16).min(1_024);
    let closing = line.closing.as_ref();
    let mut json = Json {
        ts: &ts,
        phase: if closing.is_some() { "closed" } else { "opened" },
        id: line.id,
        tenant: clip(line.tenant, longest),
        subject: clip(line.subject, longest),
        client: clip(line.client, longest),
        request_id: clip(line.request_id, longest),
        trace_id: line.trace_id,
        action: line.action,
        target: line.target.map(|target| clip(target, longest)),
        revision: line.revision,
        details: line.details,
        verdict: closing.map(|closing| closing.verdict),
        outcome: closing.and_then(|closing| closing.outcome),
        reason: closing.and_then(|closing| closing.reason),
        duration_ms: closing.map(|closing| milliseconds(closing.duration)),
    };
    let whole = serialize(&json);
    if whole.len() <= max_bytes {
        return whole;
    }
    let mark = Map::from_iter([
        ("truncated".to_owned(), json!(true)),
        ("bytes".to_owned(), json!(whole.len())),
    ]);
    json.details = &mark;
    serialize(&json)
}

/// To the microsecond: a built-in tool takes less than a millisecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn serialize(json: &Json<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    // Strings, numbers and a map with string keys: nothing in it can fail, nor can a Vec.
    if serde_json::to_writer(&mut bytes, json).is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    bytes
}

/// Control characters are replaced, so that no character takes more than two bytes for each of its own in JSON.
fn clip(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let end = (0..=longest.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    Cow::Owned(text[..end].replace(char::is_control, "?"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line<'a>(text: &'a str, details: &'a Map<String, Value>) -> Line<'a> {
        Line {
            id: "aud_0123456789abcdef0123456789abcdef-ffffffff",
            tenant: "default",
            subject: text,
            client: text,
            request_id: text,
            trace_id: Some("0123456789abcdef0123456789abcdef"),
            action: "dynamic.tool.create",
            target: Some(text),
            revision: Some(u64::MAX),
            details,
            closing: Some(Closing {
                verdict: "ran",
                outcome: Some("invalid_output"),
                reason: Some("rate_limited"),
                duration: Duration::from_secs(120),
            }),
        }
    }

    proptest! {
        #[test]
        fn a_line_is_json_on_one_line_and_not_too_long(
            text in prop_oneof![".{0,300}", r#"["\\]{0,300}"#, r"[\x00-\x1f]{0,300}"],
            details in prop::collection::hash_map(".{0,20}", ".{0,400}", 0..20),
            max in 1_800_usize..20_000,
        ) {
            let details = details.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
            let bytes = to_bytes(&line(&text, &details), DateTime::UNIX_EPOCH, max);
            prop_assert!(bytes.len() <= max, "{} bytes", bytes.len());
            prop_assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let parsed: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&parsed["ts"], "1970-01-01T00:00:00.000Z");
            let whole = details.is_empty() || parsed["details"] == Value::Object(details);
            prop_assert!(whole || parsed["details"]["truncated"] == true);
        }
    }
}
