//! The resources: what the server is, how it is configured, how busy it is. The same as the tools about them say.

use dynamic_mcp_shared::ids::TenantId;
use rmcp::ErrorData;
use rmcp::model::{CacheScope, ListResourcesResult, ReadResourceResult, Resource, ResourceContents};
use serde_json::{Value, json};

use super::{McpDeps, SERVICE, VERSION, builtin};
use crate::auth::Forbidden;

const META: &str = "dynamic://service/meta";
pub(super) const RUNTIME_CONFIG: &str = "dynamic://service/runtime-config";
pub(super) const FLEET: &str = "dynamic://fleet";
const GUARD: &str = "dynamic://metrics/guard";

/// How long a list that only a new release changes may be kept.
pub(super) const FIXED_LIST_TTL_MS: u64 = 3_600_000;

pub(super) fn list() -> ListResourcesResult {
    let resource = |uri: &str, name: &str, title: &str, description: &str| {
        Resource::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type("application/json")
    };
    ListResourcesResult::with_all_items(vec![
        resource(
            META,
            "service-meta",
            "Service",
            "Name, version and protocol of this server.",
        ),
        resource(
            RUNTIME_CONFIG,
            "runtime-config",
            "Runtime configuration",
            "The configuration that the server runs with, without any secret, and the runtimes it has.",
        ),
        resource(
            GUARD,
            "guard-metrics",
            "Guard metrics",
            "Executions that run now, the limits on them, and counts by tool.",
        ),
        resource(
            FLEET,
            "fleet",
            "Executors",
            "The executors that run code: state, slots, warm sandboxes, versions, and the replicas that they joined.",
        ),
    ])
    .with_ttl_ms(FIXED_LIST_TTL_MS)
    .with_cache_scope(CacheScope::Private)
}

pub(super) async fn read(
    deps: &McpDeps,
    tenant: &TenantId,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let (contents, ttl_ms) = match uri {
        META => (meta(), FIXED_LIST_TTL_MS),
        RUNTIME_CONFIG => (deps.shown_config(), 0),
        GUARD => (builtin::guard_metrics(deps, tenant).await, 0),
        FLEET => match builtin::fleet(deps) {
            Ok(fleet) => (fleet, 0),
            Err(Forbidden(why)) => {
                let text = format!("{why}; system.fleet takes the token");
                return Err(ErrorData::invalid_params(text, Some(json!({"uri": uri}))));
            }
        },
        _ => {
            let text = "there is no resource with this URI; resources/list shows which there are";
            return Err(ErrorData::resource_not_found(text, Some(json!({"uri": uri}))));
        }
    };
    let text = ResourceContents::text(contents.to_string(), uri).with_mime_type("application/json");
    Ok(ReadResourceResult::new(vec![text])
        .with_ttl_ms(ttl_ms)
        .with_cache_scope(CacheScope::Private))
}

fn meta() -> Value {
    json!({"name": SERVICE, "version": VERSION, "protocol": "Model Context Protocol"})
}
