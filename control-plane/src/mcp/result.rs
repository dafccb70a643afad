//! How a call of a tool ended, as a tool result: structured for a program, and the same in words.
//!
//! A result's `structuredContent` is `{ok, result, durationMs, …}`. With an output schema it has to be what the schema
//! describes, the result itself, and clients check that even on an error; then everything else stands in `_meta`.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject};
use serde_json::{Value, json};

use super::arguments::BadArgument;
use crate::catalog::CatalogError;
use crate::jobs::JobReport;
use crate::registry::{RegistryError, Revision};

/// Where `_meta` says how a call with an output schema went.
const META_KEY: &str = "dynamic-mcp/call";

/// What was called.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Called {
    /// `None` for an ephemeral run.
    pub(super) revision: Option<Revision>,
    pub(super) has_output_schema: bool,
}

pub(super) fn from_report(report: JobReport, called: Called) -> CallToolResult {
    let mut about = about(&report, called);
    match (report.outcome, &report.result) {
        (Outcome::Ok, Some(json)) => match serde_json::from_slice(json) {
            Ok(value) => succeeded(
                value,
                String::from_utf8_lossy(json).into_owned(),
                about,
                &report,
                called,
            ),
            Err(_) => {
                about.insert("outcome".to_owned(), Outcome::InvalidOutput.as_str().into());
                failed(
                    "the executor's result is not JSON".to_owned(),
                    about,
                    &report,
                    called,
                )
            }
        },
        _ => failed(error_text(&report), about, &report, called),
    }
}

/// For a job whose result is an object of our own making: its fields stand beside what is said of every call, and so does
/// what there is of it when the job was cut short. `failed` says whether the result tells of a failure itself.
pub(super) fn flattened(
    mut report: JobReport,
    failed: impl FnOnce(&JsonObject) -> Option<String>,
) -> CallToolResult {
    let partial = match report.outcome {
        Outcome::Ok => None,
        _ => report.result.take(),
    };
    let mut result = from_report(report, Called::default());
    let Some(Value::Object(structured)) = &mut result.structured_content else {
        return result;
    };
    if let Some(Value::Object(fields)) = structured.remove("result") {
        if let Some(error) = failed(&fields) {
            result.is_error = Some(true);
            structured.insert("ok".to_owned(), false.into());
            structured.insert("error".to_owned(), error.into());
        }
        structured.extend(fields);
    }
    if let Some(Ok(fields)) = partial.map(|json| serde_json::from_slice::<JsonObject>(&json)) {
        for (name, value) in fields {
            structured.entry(name).or_insert(value);
        }
    }
    result
}

/// What a program may want to know of any call.
fn about(report: &JobReport, called: Called) -> JsonObject {
    let mut about = JsonObject::new();
    about.insert("durationMs".to_owned(), millis(report.duration).into());
    about.insert("outcome".to_owned(), report.outcome.as_str().into());
    about.insert("jobId".to_owned(), report.job_id.as_str().into());
    if let Some(runtime) = report.runtime {
        about.insert("runtime".to_owned(), runtime.as_str().into());
    }
    if let Some(revision) = called.revision {
        about.insert("revision".to_owned(), revision.into());
    }
    if report.output_truncated {
        about.insert("outputTruncated".to_owned(), true.into());
        about.insert("outputBytes".to_owned(), report.output_bytes.into());
    }
    for (name, text) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if !text.is_empty() {
            about.insert(name.to_owned(), text.as_str().into());
        }
    }
    about
}

fn succeeded(
    value: Value,
    json: String,
    mut about: JsonObject,
    report: &JobReport,
    called: Called,
) -> CallToolResult {
    let content = vec![
        ContentBlock::text(json),
        ContentBlock::text(in_words(report, called)),
    ];
    let mut result = CallToolResult::success(content);
    about.insert("ok".to_owned(), true.into());
    if called.has_output_schema {
        result.structured_content = Some(value);
        result.meta = Some(meta(about));
    } else {
        about.insert("result".to_owned(), value);
        result.structured_content = Some(Value::Object(about));
    }
    result
}

fn failed(error: String, mut about: JsonObject, report: &JobReport, called: Called) -> CallToolResult {
    let words = in_words(report, called);
    let mut result = CallToolResult::error(vec![ContentBlock::text(format!("{error}\n{words}"))]);
    about.insert("ok".to_owned(), false.into());
    about.insert("error".to_owned(), error.into());
    if let Some(stack) = report
        .error
        .as_ref()
        .map(|error| &error.stack)
        .filter(|stack| !stack.is_empty())
    {
        about.insert("stack".to_owned(), stack.as_str().into());
    }
    if let Some(reason) = report.reason {
        about.insert("reason".to_owned(), reason.into());
    }
    if let Some(wait) = report.retry_after {
        about.insert("retryAfterMs".to_owned(), millis(wait).into());
    }
    if called.has_output_schema {
        result.meta = Some(meta(about));
    } else {
        result.structured_content = Some(Value::Object(about));
    }
    result
}

/// What the code said when it threw, as JavaScript would print it.
fn error_text(report: &JobReport) -> String {
    match &report.error {
        None => format!("the call ended with {}", report.outcome),
        Some(error) if report.outcome == Outcome::Threw && !matches!(error.name.as_str(), "" | "Error") => {
            format!("{}: {}", error.name, error.message)
        }
        Some(error) => error.message.clone(),
    }
}

fn in_words(report: &JobReport, called: Called) -> String {
    let mut words = format!("{} in {} ms", report.outcome, millis(report.duration));
    if let Some(revision) = called.revision {
        words.push_str(&format!(", revision {revision}"));
    }
    if let Some(wait) = report.retry_after {
        words.push_str(&format!(", try again in {} ms", millis(wait)));
    }
    for (name, text) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if !text.is_empty() {
            words.push_str(&format!("\n{name}:\n{text}"));
        }
    }
    words
}

fn meta(about: JsonObject) -> MetaObject {
    let mut meta = MetaObject::new();
    meta.insert(META_KEY.to_owned(), Value::Object(about));
    meta
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The answer of a built-in tool that did what it was asked: `text` for a person.
pub(super) fn said(text: impl Into<String>, structured: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structured);
    result
}

/// The same where the text is the structure itself.
pub(super) fn shown(structured: Value) -> CallToolResult {
    let text = structured.to_string();
    said(text, structured)
}

/// The answer of a built-in tool that did not.
pub(super) fn refused(text: impl Into<String>, kind: &str) -> CallToolResult {
    let text = text.into();
    let mut result = CallToolResult::error(vec![ContentBlock::text(&text)]);
    result.structured_content = Some(json!({"ok": false, "error": text, "kind": kind}));
    result
}

/// Something else runs than the caller wants. Nothing ran.
pub(super) fn not_as_pinned(text: &str, has_output_schema: bool) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    if !has_output_schema {
        let outcome = Outcome::NeverStarted.as_str();
        let structured = json!({"ok": false, "error": text, "kind": "conflict", "reason": "pinned", "outcome": outcome, "durationMs": 0});
        result.structured_content = Some(structured);
    }
    result
}

/// Arguments that the tool does not take. Nothing ran.
pub(super) fn invalid_arguments(wrong: &BadArgument, has_output_schema: bool) -> CallToolResult {
    let text = wrong.to_string();
    let outcome = Outcome::InvalidInput.as_str();
    let mut result = CallToolResult::error(vec![ContentBlock::text(&text)]);
    if !has_output_schema {
        let structured =
            json!({"ok": false, "error": text, "kind": "invalid", "outcome": outcome, "durationMs": 0});
        result.structured_content = Some(structured);
    }
    result
}

pub(super) fn registry_refused(error: &RegistryError) -> CallToolResult {
    let mut result = refused(error.to_string(), error.kind());
    if let Some(Value::Object(structured)) = &mut result.structured_content {
        add_details(error, structured);
    }
    result
}

pub(super) fn catalog_refused(error: &CatalogError) -> CallToolResult {
    let mut result = refused(error.to_string(), error.kind());
    if let Some(Value::Object(structured)) = &mut result.structured_content {
        match error {
            CatalogError::Registry(error) => add_details(error, structured),
            CatalogError::Untried {
                retry_after: Some(wait),
                ..
            } => {
                structured.insert("retryAfterMs".to_owned(), millis(*wait).into());
            }
            _ => {}
        }
    }
    result
}

fn add_details(error: &RegistryError, structured: &mut JsonObject) {
    match error {
        RegistryError::Conflict { expected, actual, .. }
        | RegistryError::SettingsConflict { expected, actual } => {
            structured.insert("expectedRevision".to_owned(), (*expected).into());
            structured.insert("actualRevision".to_owned(), (*actual).into());
        }
        RegistryError::TooMany { limit } => {
            structured.insert("limit".to_owned(), (*limit).into());
        }
        RegistryError::NotFound(_) | RegistryError::AlreadyExists(_) | RegistryError::Unavailable { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::ids::JobId;
    use dynamic_mcp_shared::job::{Runtime, ToolError};

    use super::*;
    use crate::registry::ToolName;

    fn report(outcome: Outcome, result: Option<&'static str>) -> JobReport {
        JobReport {
            job_id: JobId::generate(),
            outcome,
            runtime: Some(Runtime::Isolate),
            result: result.map(Into::into),
            error: None,
            reason: None,
            retry_after: None,
            duration: Duration::from_millis(12),
            stdout: String::new(),
            stderr: String::new(),
            output_truncated: false,
            output_bytes: 0,
        }
    }

    fn text(result: &CallToolResult, index: usize) -> &str {
        &result.content[index].as_text().expect("a text").text
    }

    const PLAIN: Called = Called {
        revision: Some(3),
        has_output_schema: false,
    };
    const TYPED: Called = Called {
        revision: Some(3),
        has_output_schema: true,
    };

    #[test]
    fn a_result_is_wrapped_and_stands_in_the_text_as_json() {
        let result = from_report(report(Outcome::Ok, Some(r#"{"a":1}"#)), PLAIN);
        let structured = result.structured_content.as_ref().expect("structured");
        assert_eq!(structured["ok"], true);
        assert_eq!(structured["result"], json!({"a": 1}));
        assert_eq!(structured["durationMs"], 12);
        assert_eq!(structured["outcome"], "ok");
        assert_eq!(structured["revision"], 3);
        assert_eq!(structured["runtime"], "isolate");
        assert_eq!(structured.get("stdout"), None);
        assert_eq!(text(&result, 0), r#"{"a":1}"#);
        assert_eq!(text(&result, 1), "ok in 12 ms, revision 3");
        assert_eq!(result.is_error, Some(false));
    }

    #[test]
    fn a_thrown_error_is_its_message_and_the_printed_output() {
        let mut thrown = report(Outcome::Threw, None);
        thrown.error = Some(ToolError {
            name: "TypeError".into(),
            message: "x is undefined".into(),
            stack: "at run".into(),
        });
        thrown.stderr = "warned".into();
        thrown.output_truncated = true;
        thrown.output_bytes = 900_000;
        let result = from_report(thrown, PLAIN);
        let structured = result.structured_content.as_ref().expect("structured");
        assert_eq!(structured["ok"], false);
        assert_eq!(structured["error"], "TypeError: x is undefined");
        assert_eq!(structured["outcome"], "threw");
        assert_eq!(structured["stack"], "at run");
        assert_eq!(structured["outputTruncated"], true);
        assert_eq!(structured["outputBytes"], 900_000);
        assert_eq!(result.is_error, Some(true));
        assert_eq!(
            text(&result, 0),
            "TypeError: x is undefined\nthrew in 12 ms, revision 3\nstderr:\nwarned"
        );
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let mut refused = report(Outcome::NeverStarted, None);
        refused.error = Some(ToolError::new("Refused", "all 8 execution slots are taken"));
        refused.reason = Some("concurrency_limited");
        refused.retry_after = Some(Duration::from_millis(250));
        let result = from_report(refused, PLAIN);
        let structured = result.structured_content.expect("structured");
        assert_eq!(structured["error"], "all 8 execution slots are taken");
        assert_eq!(structured["reason"], "concurrency_limited");
        assert_eq!(structured["retryAfterMs"], 250);
    }

    #[test]
    fn what_was_cut_short_says_what_there_is_of_it_and_that_it_failed() {
        let partial = r#"{"commands":[{"command":"ls","exitCode":0}],"skipped":1,"ok":true}"#;
        let result = flattened(report(Outcome::TimedOut, Some(partial)), |_| None);
        let structured = result.structured_content.expect("structured");
        assert_eq!(structured["commands"][0]["exitCode"], 0);
        assert_eq!(structured["skipped"], 1);
        assert_eq!(
            (&structured["ok"], &structured["outcome"]),
            (&json!(false), &json!("timed_out"))
        );
        assert_eq!(result.is_error, Some(true));
    }

    #[test]
    fn with_an_output_schema_the_result_stands_alone() {
        let result = from_report(report(Outcome::Ok, Some("[1,2]")), TYPED);
        assert_eq!(result.structured_content, Some(json!([1, 2])));
        let meta = result.meta.expect("meta");
        assert_eq!(meta[META_KEY]["outcome"], "ok");
        assert_eq!(meta[META_KEY].get("result"), None);
    }

    #[test]
    fn with_an_output_schema_a_failure_has_no_structured_content() {
        let mut thrown = report(Outcome::Threw, None);
        thrown.error = Some(ToolError::new("Error", "no"));
        let result = from_report(thrown, TYPED);
        assert_eq!(result.structured_content, None);
        assert_eq!(result.meta.expect("meta")[META_KEY]["error"], "no");
    }

    #[test]
    fn a_conflict_carries_both_revisions() {
        let name: ToolName = "abc".parse().expect("a name");
        let error = CatalogError::Registry(RegistryError::Conflict {
            name,
            expected: 1,
            actual: 2,
        });
        let result = catalog_refused(&error);
        let structured = result.structured_content.expect("structured");
        assert_eq!(structured["kind"], "conflict");
        assert_eq!(
            (&structured["expectedRevision"], &structured["actualRevision"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(result.is_error, Some(true));
    }
}
