//! A tool as `dynamic.tool.*` shows it.

use chrono::SecondsFormat;
use rmcp::model::JsonObject;
use serde_json::{Value, json};

use crate::registry::ToolRecord;
use crate::registry::cache::{Tool, Visibility};
use crate::runtimes::Chosen;

/// `with_code`: also of what is shared, which is the operator's own.
pub(super) fn view(tool: &Tool, with_code: bool, by_operator: bool) -> Value {
    let with_code = with_code && (tool.visibility == Visibility::Tenant || by_operator);
    let mut view = view_of(&tool.record, with_code);
    view["visibility"] = tool.visibility.as_str().into();
    view
}

pub(super) fn view_of(record: &ToolRecord, with_code: bool) -> Value {
    let spec = &record.spec;
    let mut view = JsonObject::new();
    let mut put = |key: &str, value: Value| view.insert(key.to_owned(), value);
    put("name", spec.name.as_str().into());
    if let Some(title) = &spec.title {
        put("title", title.as_str().into());
    }
    put("description", spec.description.as_str().into());
    put("runtime", spec.runtime.as_str().into());
    put("runsOn", spec.runs_on.as_str().into());
    put("image", spec.image.as_str().into());
    put("timeoutMs", spec.timeout_ms.as_millis().into());
    put("dependencies", json!(spec.dependencies));
    put("enabled", spec.enabled.into());
    put("isolation", spec.isolation.as_str().into());
    if let Some(schema) = &spec.input_schema {
        put("inputSchema", schema.clone());
    }
    if let Some(schema) = &spec.output_schema {
        put("outputSchema", schema.clone());
    }
    if !spec.examples.is_empty() {
        put("examples", json!(spec.examples));
    }
    put("revision", record.revision.into());
    put("contentHash", record.content_hash.as_str().into());
    put(
        "createdAt",
        record
            .created_at
            .to_rfc3339_opts(SecondsFormat::Millis, true)
            .into(),
    );
    put(
        "updatedAt",
        record
            .updated_at
            .to_rfc3339_opts(SecondsFormat::Millis, true)
            .into(),
    );
    put("codeSizeBytes", spec.code.len().into());
    if with_code {
        put("code", spec.code.as_str().into());
    }
    Value::Object(view)
}

/// What a write settled, and why so.
pub(super) fn runtime(chosen: &Chosen) -> Value {
    let mut view = json!({
        "requested": chosen.requested.as_str(),
        "runsOn": chosen.runs_on.as_str(),
        "why": chosen.why,
    });
    if let Some(warning) = &chosen.warning {
        view["warning"] = warning.as_str().into();
    }
    view
}
