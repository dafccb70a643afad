//! What a request must pass before MCP sees it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{HttpState, cors, errors, expiry};
use crate::metric_names;

pub(super) async fn check(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let page = match state.origins.check(request.uri(), request.headers()) {
        Ok(page) => page,
        Err(denied) => {
            return refuse(
                StatusCode::FORBIDDEN,
                denied.reason(),
                &format!("Forbidden: {denied}"),
            );
        }
    };
    let asked = page
        .as_ref()
        .and_then(|_| cors::preflight(request.method(), request.headers()));
    let mut response = match asked {
        Some(answer) => answer,
        None => within_bounds(&state, request, next).await,
    };
    if let Some(page) = page {
        cors::share_with(page, response.headers_mut());
    }
    response
}

async fn within_bounds(state: &HttpState, request: Request, next: Next) -> Response {
    if announced_bytes(request.headers()).is_some_and(|bytes| bytes > state.max_request_bytes as u64) {
        let message = format!(
            "Payload too large: a request may have {} bytes here (MCP_HTTP_MAX_REQUEST_BYTES)",
            state.max_request_bytes
        );
        let mut response = refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message);
        // The body is not read, so nothing sensible can follow it.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    let (mut parts, body) = request.into_parts();
    let access = match state.gate.admit(&parts).await {
        Ok(access) => access,
        Err(denied) => return errors::denied(&state.gate, &denied, &parts.headers),
    };
    let until = access.until;
    let headers = until.map(|_| parts.headers.clone()).unwrap_or_default();
    parts.extensions.insert(access);
    let answer = next.run(Request::from_parts(parts, body));
    match expiry::within(until, answer).await {
        Ok(response) => response,
        Err(expired) => errors::denied(&state.gate, &expired, &headers),
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse(status: StatusCode, reason: &'static str, message: &str) -> Response {
    metrics::counter!(metric_names::HTTP_REFUSALS, "reason" => reason).increment(1);
    errors::json_rpc(status, reason, message)
}
