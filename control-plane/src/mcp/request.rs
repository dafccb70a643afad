//! Who sent a request, and the span that it runs in.

use std::sync::{Arc, LazyLock};

use dynamic_mcp_shared::ids::random_uuid;
use dynamic_mcp_shared::propagation::adopt_from_fields;
use http::request::Parts;
use rmcp::model::{ErrorCode, ProtocolVersion};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use tokio::time::Instant;
use tracing::Span;

use crate::auth::{Denied, NOT_ALLOWED};
use crate::http::RequestId;
use crate::principal::{Access, Caller, Principal, Right};

/// Over stdio, and over HTTP without auth.
static ANONYMOUS: LazyLock<Access> = LazyLock::new(Access::anonymous);

pub(super) fn caller(cx: &RequestContext<RoleServer>) -> Caller {
    let access = access(cx);
    Caller {
        principal: access.principal.clone(),
        rights: access.rights,
        request_id: request_id(cx),
        cancel: cx.ct.child_token(),
    }
}

pub(super) fn principal(cx: &RequestContext<RoleServer>) -> Arc<Principal> {
    access(cx).principal.clone()
}

/// When the caller may not go on any more.
pub(super) fn until(cx: &RequestContext<RoleServer>) -> Option<Instant> {
    access(cx).until
}

/// # Errors
/// When the caller may not. Over HTTP the layer in front has said so already, but for what it could not read.
pub(super) fn require(cx: &RequestContext<RoleServer>, right: Right) -> Result<(), ErrorData> {
    if access(cx).rights.has(right) {
        Ok(())
    } else {
        Err(ErrorData::new(ErrorCode(NOT_ALLOWED), Denied::NO_RIGHT, None))
    }
}

fn access(cx: &RequestContext<RoleServer>) -> &Access {
    let parts = cx.extensions.get::<Parts>();
    parts.map_or(&ANONYMOUS, |parts| access_of(&parts.extensions))
}

/// As the layer in front found it.
pub(super) fn access_of(extensions: &http::Extensions) -> &Access {
    extensions.get::<Access>().unwrap_or(&ANONYMOUS)
}

/// A span for one request, the child of the client's when it sent a trace context.
pub(super) fn span(method: &'static str, target: &str, cx: &RequestContext<RoleServer>) -> Span {
    let span = tracing::info_span!("mcp", rpc.method = method, mcp.target = target);
    adopt_from_fields(&span, cx.meta.get_traceparent(), cx.meta.get_tracestate());
    span
}

/// Whether the request belongs to an era before 2026-07-28.
pub(super) fn is_legacy(cx: &RequestContext<RoleServer>) -> bool {
    cx.protocol_version()
        .is_none_or(|version| version.as_str() < ProtocolVersion::V_2026_07_28.as_str())
}

/// Whether a method exists in an era, whatever its parameters.
pub(super) fn is_known_method(method: &str, legacy: bool) -> bool {
    const BOTH: [&str; 8] = [
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    ];
    let of_this_era: &[&str] = if legacy {
        &["initialize", "ping", "logging/setLevel"]
    } else {
        &["server/discover", "subscriptions/listen"]
    };
    BOTH.contains(&method) || of_this_era.contains(&method)
}

fn request_id(cx: &RequestContext<RoleServer>) -> String {
    match cx
        .extensions
        .get::<Parts>()
        .and_then(|parts| parts.extensions.get::<RequestId>())
    {
        Some(RequestId(id)) => id.clone(),
        None => random_uuid().to_string(),
    }
}
