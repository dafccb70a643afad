//! `system.*`: how the server is, how busy, how configured.

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::readiness::Readiness;
use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::guard::Share;
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::{McpDeps, SERVICE, VERSION, result};

pub(super) fn tools() -> Vec<Builtin> {
    let about_itself = || {
        ToolAnnotations::new()
            .read_only(true)
            .idempotent(true)
            .open_world(false)
    };
    let health = Tool::new(
        "system.health",
        "Whether the server is ready to run tools, its version and for how long it has been up.",
        schemas::nothing(),
    )
    .with_title("Health")
    .with_raw_output_schema(schemas::object(
        json!({
            "status": {"type": "string", "enum": ["ok", "starting", "degraded", "draining"]},
            "service": {"type": "string"},
            "version": {"type": "string"},
            "uptimeSeconds": {"type": "number", "minimum": 0},
            "degraded": {"type": "object", "description": "What works less than it should, and why."}
        }),
        &["status", "service", "version", "uptimeSeconds"],
    ))
    .with_annotations(about_itself());
    let metrics = Tool::new(
        "system.guard_metrics",
        "How many executions run now, the limits on them, and the counts of each tool that has been called: total, \
         allowed, refused by rate, refused by concurrency, failed. Of all replicas that share a Redis together; with \
         `onlyThisReplica` that is away, and they are those of one.",
        schemas::nothing(),
    )
    .with_title("Guard metrics")
    .with_annotations(about_itself());
    let config = Tool::new(
        "system.runtime_config",
        "The configuration that the server runs with, without any secret. `runtimes` says what code can run on here: node \
         and isolate, each with whether it is available and in which sandbox, and which of them is the default.",
        schemas::nothing(),
    )
    .with_title("Runtime configuration")
    .with_annotations(about_itself());
    vec![
        Builtin::new(health, Call::Health),
        Builtin::new(metrics, Call::GuardMetrics).hidden_in_mvp(),
        Builtin::new(config, Call::RuntimeConfig).hidden_in_mvp(),
    ]
}

pub(super) fn health(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    Arguments::new(invocation.arguments, &[])?;
    let deps = invocation.deps;
    let mut health = json!({
        "status": status(&deps.readiness),
        "service": SERVICE,
        "version": VERSION,
        "uptimeSeconds": deps.started.elapsed().as_secs(),
    });
    let degraded = deps.readiness.report().degraded;
    if !degraded.is_empty() {
        health["degraded"] = json!(degraded);
    }
    Ok(result::shown(health))
}

fn status(readiness: &Readiness) -> &'static str {
    match readiness.report().status {
        "ready" => "ok",
        other => other,
    }
}

pub(super) async fn guard_metrics(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    Arguments::new(invocation.arguments, &[])?;
    let tenant = &invocation.caller.principal.tenant;
    Ok(result::shown(metrics(invocation.deps, tenant).await))
}

pub(super) async fn metrics(deps: &McpDeps, tenant: &TenantId) -> Value {
    let share = match deps.cache.tools(tenant).await {
        Ok(tools) => Share::from(&tools.tenant().limits),
        // What was counted is right all the same.
        Err(_) => Share::from(&deps.cache.defaults().limits),
    };
    json!(deps.guard.metrics(tenant, share).await)
}

pub(super) fn runtime_config(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    Arguments::new(invocation.arguments, &[])?;
    Ok(result::shown(invocation.deps.shown_config()))
}
