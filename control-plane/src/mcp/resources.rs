//! The resources: what the server is, how it is configured, how busy it is, as the tools about them say; and the files that
//! code in sandbox sessions left for its caller.

mod outbox;

use rmcp::ErrorData;
use rmcp::model::PaginatedRequestParams;
use rmcp::model::{CacheScope, ListResourcesResult, ReadResourceResult, Resource, ResourceContents};
use serde_json::{Value, json};

pub(super) use self::outbox::{SCHEME as SANDBOX_SCHEME, template};
use super::pages::{self, Group, Key};
use super::{McpDeps, SERVICE, VERSION, builtin};
use crate::auth::Forbidden;
use crate::principal::{Caller, Right};

const META: &str = "dynamic://service/meta";
pub(super) const RUNTIME_CONFIG: &str = "dynamic://service/runtime-config";
pub(super) const FLEET: &str = "dynamic://fleet";
const GUARD: &str = "dynamic://metrics/guard";

/// How long a list that only a new release changes may be kept.
pub(super) const FIXED_LIST_TTL_MS: u64 = 3_600_000;

/// A page of those that there are for the caller: the server's own, then the files of its sandbox sessions.
pub(super) async fn list(
    deps: &McpDeps,
    caller: &Caller,
    request: Option<&PaginatedRequestParams>,
) -> Result<ListResourcesResult, ErrorData> {
    let after = pages::after(request)?;
    // In the order in which they stand there.
    let own = own().into_iter().zip(0..);
    let own = own.map(|(resource, place)| (Key::new(Group::Builtin, &format!("{place:02}")), resource));
    let files = if caller.rights.has(Right::Sandbox) {
        outbox::list(deps, caller).await?
    } else {
        Vec::new()
    };
    let files = files
        .into_iter()
        .map(|resource| (Key::new(Group::Sandbox, &resource.uri), resource));
    let mut all: Vec<_> = own.chain(files).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (resources, next) = pages::page(all.into_iter(), after.as_ref(), pages::PAGE_SIZE);
    let mut result = ListResourcesResult::with_all_items(resources)
        .with_ttl_ms(0)
        .with_cache_scope(CacheScope::Private);
    result.next_cursor = next;
    Ok(result)
}

fn own() -> Vec<Resource> {
    let resource = |uri: &str, name: &str, title: &str, description: &str| {
        Resource::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type("application/json")
    };
    vec![
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
    ]
}

pub(super) async fn read(
    deps: &McpDeps,
    caller: &Caller,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    if uri.starts_with(SANDBOX_SCHEME) {
        return outbox::read(deps, caller, uri).await;
    }
    let (contents, ttl_ms) = match uri {
        META => (meta(), FIXED_LIST_TTL_MS),
        RUNTIME_CONFIG => (deps.shown_config(), 0),
        GUARD => (builtin::guard_metrics(deps, &caller.principal.tenant).await, 0),
        FLEET => match builtin::fleet(deps) {
            Ok(fleet) => (fleet, 0),
            Err(Forbidden(why)) => {
                let text = format!("{why}; system.fleet takes the token");
                return Err(ErrorData::invalid_params(text, Some(json!({"uri": uri}))));
            }
        },
        _ => return Err(unknown(uri)),
    };
    let text = ResourceContents::text(contents.to_string(), uri).with_mime_type("application/json");
    Ok(ReadResourceResult::new(vec![text])
        .with_ttl_ms(ttl_ms)
        .with_cache_scope(CacheScope::Private))
}

fn unknown(uri: &str) -> ErrorData {
    let text = "there is no resource with this URI; resources/list shows which there are";
    ErrorData::resource_not_found(text, Some(json!({"uri": uri})))
}

fn meta() -> Value {
    json!({"name": SERVICE, "version": VERSION, "protocol": "Model Context Protocol"})
}
