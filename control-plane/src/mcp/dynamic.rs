//! Tools of the registry as MCP shows and calls them.

use std::sync::{Arc, LazyLock};

use dynamic_mcp_shared::ids::TenantId;
use rmcp::model::{CallToolResult, JsonObject, Tool as McpTool, ToolAnnotations};
use serde_json::{Value, json};

use super::arguments::{Arguments, BadArgument};
use super::builtin::Invocation;
use super::pin::{self, Pin};
use super::result::{self, Called};
use crate::registry::cache::{TenantTools, Tool, ToolCache};
use crate::registry::{RegistryError, ToolName};

/// What a tool without an input schema takes.
static ARGS_ONLY: LazyLock<Arc<JsonObject>> = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": {"args": {"type": "object", "default": {}, "description": "What the tool's run(args) gets."}},
        "additionalProperties": false
    });
    Arc::new(schema.as_object().cloned().unwrap_or_default())
});

/// An enabled tool; a disabled one is unknown to its callers.
pub(super) fn find(tools: &TenantTools, name: &str) -> Option<Arc<Tool>> {
    let name: ToolName = name.parse().ok()?;
    tools.callable(&name).cloned()
}

/// One that this replica may not know yet: whoever made it through another has had the answer before word of it is here.
pub(super) async fn find_anew(cache: &ToolCache, tenant: &TenantId, name: &str) -> Option<Arc<Tool>> {
    let name: ToolName = name.parse().ok()?;
    let tools = cache.look_again(tenant).await?;
    tools.callable(&name).cloned()
}

/// As `tools/list` shows it.
pub(super) fn describe(tool: &Tool) -> McpTool {
    let spec = &tool.record.spec;
    let mut shown = McpTool::new(
        spec.name.as_str().to_owned(),
        spec.description.clone(),
        input_schema(tool),
    );
    shown.title = spec.title.clone();
    shown.output_schema = tool.output_schema.clone();
    // The sandbox has no network and its files go with it: a call can't touch anything outside.
    shown.annotations = Some(ToolAnnotations::new().destructive(false).open_world(false));
    shown
}

pub(super) fn input_schema(tool: &Tool) -> Arc<JsonObject> {
    tool.input_schema.clone().unwrap_or_else(|| ARGS_ONLY.clone())
}

/// A call under the tool's own name.
pub(super) async fn call(
    tool: &Arc<Tool>,
    invocation: Invocation<'_>,
) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        pin,
        feedback,
    } = invocation;
    let args = match &tool.record.spec.input_schema {
        Some(_) => arguments.unwrap_or_default(),
        None => Arguments::new(arguments, &["args"])?.map("args")?,
    };
    let invocation = Invocation {
        deps,
        caller,
        arguments: Some(args),
        pin,
        feedback,
    };
    Ok(run(tool, invocation, has_output_schema(tool)).await)
}

/// Whether what is structured in an answer under the tool's own name has to fit a schema.
pub(super) fn has_output_schema(tool: &Tool) -> bool {
    tool.record.spec.output_schema.is_some()
}

/// `dynamic.tool.call {name, args}`. Its own answer has no schema, so the result is always wrapped.
pub(super) async fn call_by_name(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        pin,
        feedback,
    } = invocation;
    let mut arguments = Arguments::new(arguments, &["name", "args", "revision", "contentHash"])?;
    let name = arguments.string("name")?;
    let args = arguments.map("args")?;
    let pin = pin.and(Pin {
        revision: arguments.optional_revision("revision")?,
        content_hash: arguments.optional_string("contentHash")?,
    })?;
    match deps.cache.tools(&caller.principal.tenant).await {
        Err(error) => Ok(unavailable(&error)),
        Ok(tools) => match find(&tools, &name) {
            Some(tool) => Ok(run(
                &tool,
                Invocation {
                    deps,
                    caller,
                    arguments: Some(args),
                    pin,
                    feedback,
                },
                false,
            )
            .await),
            None => {
                let shown: String = name.chars().take(80).collect();
                let text = format!(
                    "there is no enabled tool named {shown:?}; dynamic.tool.list shows which there are"
                );
                Ok(result::refused(text, "not_found"))
            }
        },
    }
}

/// The registry does not answer and nothing of this tenant is known yet.
pub(super) fn unavailable(error: &RegistryError) -> CallToolResult {
    result::refused(error.to_string(), "unavailable")
}

async fn run(tool: &Arc<Tool>, invocation: Invocation<'_>, has_output_schema: bool) -> CallToolResult {
    let Invocation {
        deps,
        caller,
        arguments,
        pin,
        feedback,
    } = invocation;
    if let Some(broken) = pin.broken_by(&tool.record) {
        return result::not_as_pinned(&broken, has_output_schema);
    }
    let args = Value::Object(arguments.unwrap_or_default());
    let report = feedback
        .during(|sender| deps.jobs.call_tool(caller, tool, args, sender))
        .await;
    feedback.console(&report).await;
    let called = Called {
        revision: Some(tool.record.revision),
        has_output_schema,
    };
    let mut result = result::from_report(report, called);
    pin::name(&tool.record, &mut result);
    result
}
