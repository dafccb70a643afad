//! One entry of a JSON store, checked against the limits of the contract.

use std::ops::RangeInclusive;

use chrono::{DateTime, SubsecRound, Utc};
use dynamic_mcp_shared::job::{Dependency, Isolation, Runtime};
use dynamic_mcp_shared::limits::{MAX_CODE_CHARS, TimeoutMs};
use dynamic_mcp_shared::packages;
use dynamic_mcp_shared::policy::{DEFAULT_IMAGE, MAX_DEPENDENCIES, parse_image};
use serde_json::{Map, Value};

use crate::registry::{Revision, RuntimeChoice, ToolName, ToolRecord, ToolSpec};

const TITLE_CHARS: RangeInclusive<usize> = 1..=120;
const DESCRIPTION_CHARS: RangeInclusive<usize> = 1..=4_000;
const CODE_CHARS: RangeInclusive<usize> = 1..=MAX_CODE_CHARS;
const RESERVED_PREFIXES: [&str; 3] = ["dynamic.", "sandbox.", "system."];

type Fields = Map<String, Value>;

/// `key`: the entry's key where the store is a map; it stands in for a missing name.
pub(super) fn record(key: Option<&str>, entry: &Value, now: DateTime<Utc>) -> Result<ToolRecord, String> {
    let fields = entry.as_object().ok_or("must be an object")?;
    let spec = ToolSpec {
        name: name(key, fields)?,
        title: text(fields, "title", TITLE_CHARS)?,
        description: required(text(fields, "description", DESCRIPTION_CHARS)?, "description")?,
        code: required(text(fields, "code", CODE_CHARS)?, "code")?,
        runtime: RuntimeChoice::Node,
        runs_on: Runtime::Node,
        image: image(fields)?,
        timeout_ms: timeout(fields)?,
        dependencies: dependencies(fields)?,
        dependency_lock: None,
        isolation: Isolation::default(),
        input_schema: None,
        output_schema: None,
        examples: Vec::new(),
        enabled: enabled(fields)?,
    };
    let created_at = time(fields, "createdAt")?.unwrap_or(now);
    Ok(ToolRecord {
        content_hash: spec.content_hash(),
        spec,
        revision: revision(fields)?,
        created_at,
        updated_at: time(fields, "updatedAt")?.unwrap_or(created_at),
    })
}

/// A field that is `null` counts as left out.
fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{name} is missing"))
}

fn text(fields: &Fields, name: &str, chars: RangeInclusive<usize>) -> Result<Option<String>, String> {
    let Some(value) = field(fields, name) else {
        return Ok(None);
    };
    let text = value.as_str().ok_or_else(|| format!("{name} must be a string"))?;
    let count = text.chars().count();
    if chars.contains(&count) {
        Ok(Some(text.to_owned()))
    } else {
        let (min, max) = chars.into_inner();
        Err(format!("{name} must have {min} to {max} characters, got {count}"))
    }
}

fn name(key: Option<&str>, fields: &Fields) -> Result<ToolName, String> {
    let given = field(fields, "name").map(|name| name.as_str().ok_or("name must be a string"));
    let name = match (given.transpose()?, key) {
        (Some(name), Some(key)) if name != key => {
            return Err(format!("its name is {name:?}, which is not its key"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err("name is missing".to_owned()),
    };
    match RESERVED_PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
        Some(prefix) => Err(format!("name must not begin with {prefix:?}")),
        None => name.parse().map_err(|error| format!("{error}")),
    }
}

fn image(fields: &Fields) -> Result<String, String> {
    match field(fields, "image") {
        None => Ok(DEFAULT_IMAGE.to_owned()),
        Some(image) => {
            let image = image.as_str().ok_or("image must be a string")?;
            parse_image(image).map_err(|allowed| format!("image is not valid: {allowed}"))
        }
    }
}

fn timeout(fields: &Fields) -> Result<TimeoutMs, String> {
    match field(fields, "timeoutMs") {
        None => Ok(TimeoutMs::DEFAULT),
        Some(ms) => {
            let ms = ms
                .as_u64()
                .ok_or_else(|| format!("timeoutMs must be an integer from 1000 to 120000, got {ms}"))?;
            TimeoutMs::new(ms).map_err(|error| error.to_string())
        }
    }
}

fn dependencies(fields: &Fields) -> Result<Vec<Dependency>, String> {
    let Some(value) = field(fields, "dependencies") else {
        return Ok(Vec::new());
    };
    let dependencies: Vec<Dependency> = serde_json::from_value(value.clone())
        .map_err(|error| format!("dependencies must be a list of {{name, version}}: {error}"))?;
    // What the operator blocks is checked when the tool is written again, as it must be to get a lock.
    packages::check(&dependencies, MAX_DEPENDENCIES).map_err(|error| error.to_string())?;
    Ok(dependencies)
}

fn enabled(fields: &Fields) -> Result<bool, String> {
    let enabled = field(fields, "enabled").map_or(Some(true), Value::as_bool);
    enabled.ok_or_else(|| "enabled must be true or false".to_owned())
}

fn revision(fields: &Fields) -> Result<Revision, String> {
    let revision = field(fields, "revision").map_or(Some(1), Value::as_u64);
    revision
        .filter(|revision| (1..=u64::from(u32::MAX)).contains(revision))
        .ok_or_else(|| "revision must be a positive integer".to_owned())
}

/// ISO 8601, or milliseconds since the Unix epoch.
fn time(fields: &Fields, name: &str) -> Result<Option<DateTime<Utc>>, String> {
    let Some(value) = field(fields, name) else {
        return Ok(None);
    };
    let time = match value {
        Value::String(text) => DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.with_timezone(&Utc)),
        number => number.as_i64().and_then(DateTime::from_timestamp_millis),
    };
    let time = time.ok_or_else(|| format!("{name} must be a time in ISO 8601, got {value}"))?;
    Ok(Some(time.trunc_subsecs(3)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FIELDS: [&str; 11] = [
        "name",
        "title",
        "description",
        "code",
        "image",
        "timeoutMs",
        "dependencies",
        "enabled",
        "revision",
        "createdAt",
        "updatedAt",
    ];

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-z._-]{0,12}", "2025-0[0-9]-[0-9]{2}T0[0-9]:00:00Z", ".{0,6}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            let version = (inner.clone(), inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
                version.prop_map(|(name, version)| json!([{"name": name, "version": version}])),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_entry_is_a_tool_within_the_contract_or_refused_by_field(
            field in prop::sample::select(&FIELDS[..]),
            value in any_value(),
        ) {
            let mut entry = json!({"name": "one.tool", "description": "d", "code": "return 1"});
            entry[field] = value;
            match record(None, &entry, DateTime::UNIX_EPOCH) {
                Ok(record) => {
                    prop_assert_eq!(&record.content_hash, &record.spec.content_hash());
                    prop_assert!(record.revision >= 1);
                    prop_assert_eq!(parse_image(&record.spec.image), Ok(record.spec.image.clone()));
                }
                Err(why) => prop_assert!(why.starts_with(field) || why.starts_with("dependency"), "{}: {}", field, why),
            }
        }

        #[test]
        fn what_is_no_object_is_no_entry(entry in any_value()) {
            prop_assert!(record(Some("a.key"), &entry, DateTime::UNIX_EPOCH).is_err());
        }
    }
}
