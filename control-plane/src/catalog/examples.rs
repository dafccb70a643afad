//! The examples of a tool, run before what they are examples of is anybody's to call.

use std::sync::Arc;

use dynamic_mcp_shared::job::Isolation;
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::Value;

use super::{Catalog, CatalogError, Manager};
use crate::jobs::JobReport;
use crate::registry::cache::Tool;
use crate::registry::{Example, InvalidTool, ToolRecord, ToolSpec};

pub(super) const MOST: usize = 10;
/// Of all of them, as JSON.
const MAX_BYTES: usize = 64 << 10;
/// Of a value that is shown in a refusal.
const SHOWN_CHARS: usize = 200;

/// # Errors
/// When there are too many, or they are too large.
pub(super) fn check(examples: &[Example]) -> Result<(), InvalidTool> {
    if examples.len() > MOST {
        let problem = format!("must be {MOST} at most, got {}", examples.len());
        return Err(InvalidTool::new("examples", problem));
    }
    let bytes = serde_json::to_vec(examples).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_BYTES {
        let problem = format!("must have {MAX_BYTES} bytes of JSON at most, got {bytes}");
        return Err(InvalidTool::new("examples", problem));
    }
    Ok(())
}

impl Catalog {
    /// Each in a sandbox of its own, one after the other.
    ///
    /// # Errors
    /// The first example that does not end as it says, or could not be run.
    pub(super) async fn try_examples(
        &self,
        manager: &Manager<'_>,
        spec: &ToolSpec,
    ) -> Result<(), CatalogError> {
        if spec.examples.is_empty() {
            return Ok(());
        }
        let spec = ToolSpec {
            // A kept sandbox would wait for calls of a tool that may never be.
            isolation: Isolation::Call,
            ..spec.clone()
        };
        let owner = manager.owner();
        let last = self.deps.registry.history(&owner, &spec.name, None, 1).await?;
        let last = last.revisions.first().map_or(0, |past| past.revision);
        let now = chrono::DateTime::UNIX_EPOCH;
        let record = ToolRecord {
            content_hash: spec.content_hash(),
            spec,
            // What it is to be, for the audit.
            revision: last + 1,
            created_at: now,
            updated_at: now,
        };
        let tool = Arc::new(Tool::new(record, manager.of));
        let examples = &tool.record.spec.examples;
        for (number, example) in examples.iter().enumerate() {
            let args = Value::Object(example.args.clone());
            let report = Box::pin(self.deps.jobs.try_tool(manager.caller, &tool, args)).await;
            match report.outcome {
                Outcome::Cancelled => return Err(CatalogError::Cancelled),
                // Nothing is said of the example by that.
                Outcome::NeverStarted | Outcome::Interrupted => {
                    return Err(CatalogError::Untried {
                        number: number + 1,
                        why: said(&report),
                        retry_after: report.retry_after,
                    });
                }
                _ => {}
            }
            if let Some(why) = wrong(example, &report) {
                return Err(CatalogError::Example {
                    number: number + 1,
                    of: examples.len(),
                    why,
                });
            }
        }
        Ok(())
    }
}

/// What is not as the example says, if anything.
fn wrong(example: &Example, report: &JobReport) -> Option<String> {
    let result: Option<Value> = report
        .result
        .as_deref()
        .and_then(|json| serde_json::from_slice(json).ok());
    match (report.outcome, result, &example.expect) {
        (Outcome::Ok, Some(_), None) => None,
        (Outcome::Ok, Some(got), Some(expected)) if same(&got, expected) => None,
        (Outcome::Ok, Some(got), Some(expected)) => {
            Some(format!("it expects {}, and got {}", shown(expected), shown(&got)))
        }
        _ => Some(said(report)),
    }
}

fn said(report: &JobReport) -> String {
    let error = report.error.as_ref().map(|error| format!(": {}", error.message));
    format!("it ended with {}{}", report.outcome, error.unwrap_or_default())
}

/// JSON has one kind of number: 1 and 1.0 are the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_the_same_as_json_has_it() {
        for (one, other) in [
            (json!(1), json!(1.0)),
            (
                json!({"a": [1, {"b": null}], "c": 2}),
                json!({"c": 2.0, "a": [1.0, {"b": null}]}),
            ),
            (json!("1"), json!("1")),
        ] {
            assert!(same(&one, &other), "{one} {other}");
        }
        for (one, other) in [
            (json!(1), json!("1")),
            (json!(null), json!(false)),
            (json!([1, 2]), json!([2, 1])),
            (json!({"a": 1}), json!({"a": 1, "b": 2})),
            (json!({"a": 1, "b": 2}), json!({"a": 1})),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_995_i64)),
        ] {
            assert!(!same(&one, &other), "{one} {other}");
        }
    }

    #[test]
    fn there_are_not_more_or_larger_ones_than_can_be_tried() {
        let example = |text: String| Example {
            args: json!({"text": text}).as_object().unwrap().clone(),
            expect: None,
        };
        assert!(check(&vec![example(String::new()); MOST]).is_ok());
        assert!(check(&vec![example(String::new()); MOST + 1]).is_err());
        assert!(check(&[example("x".repeat(MAX_BYTES))]).is_err());
    }
}
