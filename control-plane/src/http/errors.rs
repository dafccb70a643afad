//! Answers to requests that never reach MCP.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;

use crate::auth::{Denied, Gate, NOT_ALLOWED};

/// JSON-RPC leaves this range to servers.
const SERVER_ERROR: i32 = -32_000;
/// From the contract: without a token.
const UNAUTHENTICATED: i32 = -32_001;

pub(super) async fn not_found(uri: Uri) -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "not_found",
        &format!("nothing is at {}", shortened(uri.path())),
    )
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{} does not answer {}",
        shortened(uri.path()),
        shortened(method.as_str())
    );
    plain(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message)
}

/// A refusal at the MCP endpoint, in the shape that a client of it reads.
pub(super) fn json_rpc(status: StatusCode, reason: &'static str, message: &str) -> Response {
    refusal(status, SERVER_ERROR, reason, message)
}

fn refusal(status: StatusCode, code: i32, reason: &'static str, message: &str) -> Response {
    let body = json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": code, "message": message, "data": { "reason": reason } },
    });
    (status, Json(body)).into_response()
}

/// To one who may not come in, or not go on: by the rules of OAuth for whoever reads headers, and in JSON-RPC for whoever
/// reads bodies.
pub fn denied(gate: &Gate, denied: &Denied, request: &HeaderMap) -> Response {
    let code = match denied {
        Denied::Missing => UNAUTHENTICATED,
        Denied::NoKeys => SERVER_ERROR,
        _ => NOT_ALLOWED,
    };
    let mut response = refusal(denied.status(), code, denied.reason(), &denied.to_string());
    if let Some(challenger) = gate.challenger() {
        response.headers_mut().extend(challenger.headers(denied, request));
    }
    response
}

fn plain(status: StatusCode, code: &'static str, message: &str) -> Response {
    (
        status,
        Json(json!({ "error": { "code": code, "message": message } })),
    )
        .into_response()
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
