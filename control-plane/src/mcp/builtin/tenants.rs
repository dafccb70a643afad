//! `system.tenant.*`: what a tenant may have. The work is that of [`crate::tenant::Tenants`].

use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result;
use crate::tenant::{About, SettingsPatch, Shown, Tenant, TenantsError};

const GET: &str = "What a tenant may have: `settings` is what was set for it, `limits` what holds, `defaults` what holds where \
nothing is set, `revision` counts the writes of the settings. Without `tenant` it is your own. For operators.";

const SET: &str = "Sets what a tenant may have, at once and on every replica. `settings` names what to change; null takes a \
setting away, so that the default holds again, and what is not named stays. Limits concern what begins from then on: \
tools that exist and calls that run are left alone. For operators.";

pub(super) fn tools() -> Vec<Builtin> {
    let get = schemas::object(
        json!({"adminToken": schemas::admin_token(), "tenant": tenant()}),
        &[],
    );
    let set = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "tenant": tenant(),
            "settings": settings(),
            "expectedRevision": {
                "type": "integer",
                "minimum": 0,
                "description": "Write only if the settings still have this revision; 0: nothing was set yet."
            }
        }),
        &["settings"],
    );
    let hints = ToolAnnotations::new().open_world(false).idempotent(true);
    let get = Tool::new("system.tenant.get", GET, get)
        .with_title("Get a tenant's limits")
        .with_annotations(hints.clone().read_only(true));
    let set = Tool::new("system.tenant.set", SET, set)
        .with_title("Set a tenant's limits")
        .with_annotations(hints.read_only(false).destructive(true));
    vec![
        Builtin::new(get, Call::TenantGet).hidden_in_mvp(),
        Builtin::new(set, Call::TenantSet).hidden_in_mvp(),
    ]
}

fn tenant() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant's id; left out, your own."})
}

fn settings() -> Value {
    let list = |description: &str| json!({"type": ["array", "null"], "items": {"type": "string"}, "description": description});
    let flag = |description: &str| json!({"type": ["boolean", "null"], "description": description});
    let count =
        |description: &str| json!({"type": ["integer", "null"], "minimum": 0, "description": description});
    json!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": false,
        "properties": {
            "maxTools": count("Tools it may have."),
            "maxConcurrency": count("Calls that may run at once; 0 stops all."),
            "maxCallsPerWindow": count("Calls that may begin within the guard's window, of all its tools together."),
            "weight": {"type": ["integer", "null"], "minimum": 1, "maximum": 100, "description": "Its part of the slots that several tenants wait for, against the weights of the others."},
            "maxSessions": count("Sessions of clients of the 2025 era that may be open; the one that has been idle for the longest makes room."),
            "maxSandboxes": count("Sandbox sessions that may be open; those that are stay."),
            "maxMemoryMb": {"type": ["integer", "null"], "minimum": 64, "description": "Memory of one call in MiB, if that is less than what sandboxes have here."},
            "maxTimeoutMs": {"type": ["integer", "null"], "minimum": 1000, "maximum": 120_000, "description": "How long one call may take; tools that ask for more get this."},
            "allowedImages": list("The only images, of those that the deployment allows."),
            "requireDigest": flag("Whether images must be named with their digest."),
            "allowedPackages": list("The only npm packages, at any depth: name, @scope/* or name@range."),
            "blockedPackages": list("npm packages that are refused besides those that the deployment blocks."),
            "allowToolIsolation": flag("false: no tool may keep its sandbox between calls.")
        }
    })
}

pub(super) async fn get(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "tenant"])?;
    let about = About {
        caller: invocation.caller,
        admin_token: arguments.secret("adminToken")?,
        tenant: arguments.optional_string("tenant")?,
    };
    Ok(answer(invocation.deps.tenants.get(&about).await))
}

pub(super) async fn set(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let allowed = &["adminToken", "tenant", "settings", "expectedRevision"];
    let mut arguments = Arguments::new(invocation.arguments, allowed)?;
    let about = About {
        caller: invocation.caller,
        admin_token: arguments.secret("adminToken")?,
        tenant: arguments.optional_string("tenant")?,
    };
    let expected = arguments.optional_integer("expectedRevision", 0, "a whole number")?;
    let patch = SettingsPatch::new(arguments.map("settings")?)
        .map_err(|invalid| BadArgument::new(invalid.to_string()))?;
    Ok(answer(
        invocation.deps.tenants.set(&about, &patch, expected).await,
    ))
}

/// What holds, the longest call by its policy among it.
fn limits(tenant: &Tenant) -> Value {
    let mut limits = json!(tenant.limits);
    limits["maxTimeoutMs"] = tenant.policy.max_timeout().as_millis().into();
    limits
}

fn answer(shown: Result<Shown, TenantsError>) -> CallToolResult {
    match shown {
        Ok(shown) => result::shown(json!({
            "tenant": shown.id,
            "revision": shown.tenant.record.revision,
            "settings": shown.tenant.record.settings,
            "limits": limits(&shown.tenant),
            "defaults": limits(&shown.defaults),
            "tools": shown.tools,
        })),
        Err(TenantsError::Registry(error)) => result::registry_refused(&error),
        Err(error) => result::refused(error.to_string(), error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_schema_names_what_can_be_set() {
        let schema = settings();
        let named: BTreeSet<_> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(named, BTreeSet::from(SettingsPatch::FIELDS));
    }
}
