//! A call that its caller has no right to leaves an entry in the audit, like one that was made.

use dynamic_mcp_shared::ids::SandboxId;
use rmcp::model::JsonObject;
use serde_json::{Map, Value};

use super::{BUILTIN_NAMES, McpDeps};
use crate::audit::{Action, Verdict};
use crate::principal::Caller;
use crate::registry::ToolName;

const REASON: &str = "insufficient_scope";
/// What a call of a tool of the registry is, whatever it is called.
const CALL: &str = "dynamic.exec";

/// `tool` and `arguments` are as the caller sent them: of those only names that can be a tool's are written.
pub(super) async fn record(deps: &McpDeps, caller: &Caller, tool: &str, arguments: Option<&JsonObject>) {
    let builtin = BUILTIN_NAMES.into_iter().find(|name| *name == tool);
    let named = match builtin {
        Some(_) => arguments.and_then(target),
        None => Some(tool),
    };
    let target = named.filter(|name| name.parse::<ToolName>().is_ok() || name.parse::<SandboxId>().is_ok());
    let action = Action {
        name: builtin.unwrap_or(CALL),
        target,
        revision: None,
        details: Map::new(),
    };
    // It is refused one way or the other.
    if let Ok(entry) = deps.audit.begin(caller, action).await {
        entry.close(Verdict::Refused(REASON));
    }
}

/// The tool or the sandbox session that a built-in one is to work on.
fn target(arguments: &JsonObject) -> Option<&str> {
    let name = arguments
        .get("name")
        .or_else(|| arguments.get("tool")?.get("name"))
        .or_else(|| arguments.get("sessionId"));
    name.and_then(Value::as_str)
}
