//! Where clients get the tokens that this server takes (RFC 9728).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use http::{HeaderMap, StatusCode, Uri};

use super::HttpState;

/// Public, for pages too: it is read before there is a token.
pub(super) async fn protected_resource(
    State(state): State<HttpState>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(denied) = state.origins.check_host(&uri, &headers) {
        return (StatusCode::FORBIDDEN, denied.to_string()).into_response();
    }
    match state.gate.challenger() {
        Some(challenger) => (
            [(CACHE_CONTROL, "max-age=300"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")],
            Json(challenger.metadata(&headers)),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
