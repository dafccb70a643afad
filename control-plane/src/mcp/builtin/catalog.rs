//! `dynamic.tool.*`: tools that make, change and show tools. The work is the catalog's.

mod about;
mod past;
mod view;

use dynamic_mcp_shared::job::{Dependency, Isolation};
use rmcp::model::CallToolResult;
use serde_json::json;

pub(super) use self::about::tools;
use self::view::{runtime, view};
use super::Invocation;
use super::ephemeral::{DEPENDENCIES, RUNTIMES};
use crate::catalog::{CatalogError, Manager, ToolDraft, ToolPatch, Written};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::{McpDeps, result};
use crate::principal::Caller;
use crate::registry::cache::Visibility;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CatalogTool {
    Create,
    Update,
    Enable,
    Delete,
    Get,
    List,
    History,
    Diff,
    Rollback,
}

/// The fields of `tool`, and those of `patch` but the first.
const TOOL_FIELDS: &[&str] = &[
    "name",
    "title",
    "description",
    "code",
    "runtime",
    "image",
    "timeoutMs",
    "dependencies",
    "enabled",
    "isolation",
    "inputSchema",
    "outputSchema",
    "examples",
];
const PATCH_FIELDS: &[&str] = TOOL_FIELDS.split_at(1).1;
const MILLISECONDS: &str = "a whole number of milliseconds";
const EXAMPLES: &str = "an array of {args, expect?}";
const VISIBILITIES: &str = "\"tenant\" or \"shared\"";
const ISOLATIONS: &str = "\"call\" or \"tool\"";

pub(super) async fn call(
    tool: CatalogTool,
    invocation: Invocation<'_>,
) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        ..
    } = invocation;
    let answer = match tool {
        CatalogTool::Create => {
            let allowed = &["adminToken", "visibility", "tool"];
            create(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Update => {
            let allowed = &["adminToken", "visibility", "name", "patch", "expectedRevision"];
            update(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Enable => {
            let allowed = &["adminToken", "visibility", "name", "enabled", "expectedRevision"];
            enable(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Delete => {
            let allowed = &["adminToken", "visibility", "name", "expectedRevision"];
            delete(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Get => {
            let allowed = &["adminToken", "visibility", "name"];
            get(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::List => {
            let allowed = &["adminToken", "visibility", "includeCode"];
            list(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::History => {
            let allowed = &["adminToken", "visibility", "name", "before", "limit"];
            past::history(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Diff => {
            let allowed = &["adminToken", "visibility", "name", "from", "to"];
            past::diff(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
        CatalogTool::Rollback => {
            let allowed = &["adminToken", "visibility", "name", "to", "expectedRevision"];
            past::rollback(deps, caller, Arguments::new(arguments, allowed)?).await?
        }
    };
    Ok(answer.unwrap_or_else(|error| result::catalog_refused(&error)))
}

type Answer = Result<Result<CallToolResult, CatalogError>, BadArgument>;

async fn create(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let draft = draft(arguments.object("tool", "tool.", TOOL_FIELDS)?)?;
    let created = deps.catalog.create(&manager, draft).await;
    Ok(created.map(|done| written("Created", &done)))
}

async fn update(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let expected = arguments.optional_revision("expectedRevision")?;
    let patch = patch(arguments.object("patch", "patch.", PATCH_FIELDS)?)?;
    let updated = deps.catalog.update(&manager, &name, patch, expected).await;
    Ok(updated.map(|done| written("Updated", &done)))
}

async fn enable(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let enabled = arguments.boolean("enabled")?;
    let expected = arguments.optional_revision("expectedRevision")?;
    let changed = deps.catalog.set_enabled(&manager, &name, enabled, expected).await;
    let done = if enabled { "Enabled" } else { "Disabled" };
    Ok(changed.map(|changed| written(done, &changed)))
}

async fn delete(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let expected = arguments.optional_revision("expectedRevision")?;
    let deleted = deps.catalog.delete(&manager, &name, expected).await;
    Ok(deleted.map(|record| {
        let (name, revision) = (&record.spec.name, record.revision);
        let structured = json!({"ok": true, "deleted": {"name": name, "revision": revision}});
        result::said(
            format!("Deleted the tool {name}, which was at revision {revision}."),
            structured,
        )
    }))
}

async fn get(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let name = arguments.string("name")?;
    let by_operator = manager.of == Visibility::Shared;
    let got = deps.catalog.get(&manager, &name).await;
    Ok(got.map(|tool| result::shown(json!({"tool": view(&tool, true, by_operator)}))))
}

async fn list(deps: &McpDeps, caller: &Caller, mut arguments: Arguments) -> Answer {
    let manager = manager(caller, &mut arguments)?;
    let with_code = arguments.optional_boolean("includeCode")?.unwrap_or(false);
    let by_operator = manager.of == Visibility::Shared;
    let listed = deps.catalog.list(&manager).await;
    Ok(listed.map(|tools| {
        let tools: Vec<_> = tools
            .all()
            .map(|tool| view(tool, with_code, by_operator))
            .collect();
        result::shown(json!({"tools": tools}))
    }))
}

/// What each of these takes: the operator's token, and whose tools are meant.
fn manager<'a>(caller: &'a Caller, arguments: &mut Arguments) -> Result<Manager<'a>, BadArgument> {
    Ok(Manager {
        caller,
        admin_token: arguments.secret("adminToken")?,
        of: arguments
            .optional("visibility", VISIBILITIES)?
            .unwrap_or_default(),
    })
}

fn written(done: &str, written: &Written) -> CallToolResult {
    let record = &written.tool.record;
    let (name, revision) = (&record.spec.name, record.revision);
    let mut text = format!("{done} the tool {name}, now at revision {revision}.");
    let mut structured = json!({"tool": view(&written.tool, false, false)});
    if let Some(chosen) = &written.chosen {
        text.push_str(&format!(" It runs on {}: {}.", chosen.runs_on, chosen.why));
        if let Some(warning) = &chosen.warning {
            text.push_str(&format!(" It can't be called yet: {warning}."));
        }
        structured["runtime"] = runtime(chosen);
    }
    result::said(text, structured)
}

fn draft(mut tool: Arguments) -> Result<ToolDraft, BadArgument> {
    Ok(ToolDraft {
        name: tool.string("name")?,
        title: tool.optional_string("title")?,
        description: tool.string("description")?,
        code: tool.string("code")?,
        runtime: tool.optional("runtime", RUNTIMES)?,
        image: tool.optional_string("image")?,
        timeout_ms: tool.optional_integer("timeoutMs", 0, MILLISECONDS)?,
        dependencies: tool
            .optional::<Vec<Dependency>>("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
        enabled: tool.optional_boolean("enabled")?,
        isolation: tool.optional::<Isolation>("isolation", ISOLATIONS)?,
        input_schema: tool.clearable_value("inputSchema").flatten(),
        output_schema: tool.clearable_value("outputSchema").flatten(),
        examples: tool.optional("examples", EXAMPLES)?.unwrap_or_default(),
    })
}

fn patch(mut patch: Arguments) -> Result<ToolPatch, BadArgument> {
    Ok(ToolPatch {
        title: patch.clearable_string("title")?,
        description: patch.optional_string("description")?,
        code: patch.optional_string("code")?,
        runtime: patch.optional("runtime", RUNTIMES)?,
        image: patch.optional_string("image")?,
        timeout_ms: patch.optional_integer("timeoutMs", 0, MILLISECONDS)?,
        dependencies: patch.optional::<Vec<Dependency>>("dependencies", DEPENDENCIES)?,
        enabled: patch.optional_boolean("enabled")?,
        isolation: patch.optional::<Isolation>("isolation", ISOLATIONS)?,
        input_schema: patch.clearable_value("inputSchema"),
        output_schema: patch.clearable_value("outputSchema"),
        examples: patch.optional("examples", EXAMPLES)?,
    })
}
