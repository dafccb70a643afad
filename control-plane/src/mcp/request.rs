//! Who sent a request, and the span that it runs in.

use dynamic_mcp_shared::ids::random_uuid;
use dynamic_mcp_shared::propagation::adopt_from_fields;
use http::request::Parts;
use rmcp::model::{ErrorCode, ProtocolVersion};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::auth::{Denied, NOT_ALLOWED};
use crate::http::RequestId;
use crate::principal::{Access, Caller, Rights};

pub(super) fn caller(access: &Access, request_id: String, cancel: CancellationToken) -> Caller {
    Caller {
        principal: access.principal.clone(),
        rights: access.rights,
        request_id,
        cancel,
    }
}

/// # Errors
/// When the caller may not. Over HTTP the layer in front has said so already, but for what it could not read.
pub(super) fn require(access: &Access, rights: impl Into<Rights>) -> Result<(), ErrorData> {
    if access.rights.has_all(rights.into()) {
        Ok(())
    } else {
        Err(ErrorData::new(ErrorCode(NOT_ALLOWED), Denied::NO_RIGHT, None))
    }
}

/// What the layer in front found of who sent an HTTP request; nothing over stdio.
pub(super) fn access(cx: &RequestContext<RoleServer>) -> Option<&Access> {
    cx.extensions.get::<Parts>()?.extensions.get()
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

pub(super) fn id(cx: &RequestContext<RoleServer>) -> String {
    id_among(cx.extensions.get::<Parts>().map(|parts| &parts.extensions))
}

/// As the layer in front found it, or made here.
pub(super) fn id_among(extensions: Option<&http::Extensions>) -> String {
    match extensions.and_then(|extensions| extensions.get::<RequestId>()) {
        Some(RequestId(id)) => id.clone(),
        None => random_uuid().to_string(),
    }
}
