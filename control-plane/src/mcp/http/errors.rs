//! Refusals in the words of JSON-RPC. rmcp answers some requests with bare text; a client that reads the body of an error
//! expects a message there too.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::in_front::Refused;
use super::twice::Ambiguous;

const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const INTERNAL_ERROR: i32 = -32_603;
const SERVER_ERROR: i32 = -32_000;
/// What the SDKs use for it.
const SESSION_NOT_FOUND: i32 = -32_001;

/// How rmcp begins its answer to a body that is not a message.
const NOT_A_MESSAGE: &str = "fail to deserialize request body";

pub(super) fn no_such_session() -> Response<Body> {
    respond(
        StatusCode::NOT_FOUND,
        SESSION_NOT_FOUND,
        "Session not found",
        Value::Null,
    )
}

pub(super) fn ambiguous(ambiguous: &Ambiguous, request: &Bytes) -> Response<Body> {
    let text = format!("Invalid request: {ambiguous}");
    respond(StatusCode::BAD_REQUEST, INVALID_REQUEST, &text, id_of(request))
}

/// The log has the cause.
pub(super) fn internal() -> Response<Body> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    respond(status, INTERNAL_ERROR, "Internal error", Value::Null)
}

pub(super) fn refused_body(status: StatusCode, max_bytes: usize) -> Response<Body> {
    let text = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!(
            "Payload too large: a request may have {max_bytes} bytes here (MCP_HTTP_MAX_REQUEST_BYTES)"
        ),
        StatusCode::REQUEST_TIMEOUT => "Request timeout: the body did not arrive in time".to_owned(),
        _ => "Bad request: the body could not be read".to_owned(),
    };
    respond(status, SERVER_ERROR, &text, Value::Null)
}

/// Leaves every answer as it is but refusals that are not JSON.
pub(super) async fn as_json_rpc(
    response: Response<BoxBody<Bytes, std::convert::Infallible>>,
    request: &Bytes,
    refused: Option<Refused>,
) -> Response<Body> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error
        || response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json")
    {
        return response.map(Body::new);
    }
    let (parts, body) = response.into_parts();
    // It is in memory already and can't fail.
    let text = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut refusal = match refused {
        Some(Refused::Full) => too_many_sessions(),
        Some(Refused::Away) => sessions_away(request),
        Some(Refused::TooLarge { max_bytes }) => message_too_large(max_bytes),
        None if text.starts_with(NOT_A_MESSAGE) => not_a_message(request),
        None => {
            let (code, text) = match status {
                StatusCode::NOT_FOUND => (SESSION_NOT_FOUND, "Session not found"),
                // The log has the cause.
                status if status.is_server_error() => (INTERNAL_ERROR, "Internal error"),
                _ => (SERVER_ERROR, text.as_ref()),
            };
            respond(status, code, text, id_of(request))
        }
    };
    for (name, value) in &parts.headers {
        refusal.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    refusal
}

fn too_many_sessions() -> Response<Body> {
    let text = "Too many sessions are open and none is idle; try again later, or use the protocol version 2026-07-28, \
                which needs none";
    let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, SERVER_ERROR, text, Value::Null);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

pub(super) fn opening_too_large(request: &Bytes, max_bytes: usize) -> Response<Body> {
    let text = format!("Payload too large: an initialize request may have {max_bytes} bytes");
    respond(StatusCode::PAYLOAD_TOO_LARGE, SERVER_ERROR, &text, id_of(request))
}

fn message_too_large(max_bytes: usize) -> Response<Body> {
    let text = format!("Payload too large: an answer or a notification may have {max_bytes} bytes here");
    respond(StatusCode::PAYLOAD_TOO_LARGE, SERVER_ERROR, &text, Value::Null)
}

/// Not that there is none: a client would begin another one.
pub(super) fn sessions_away(request: &Bytes) -> Response<Body> {
    let text = "Sessions of other replicas can't be reached now; try again";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = respond(status, SERVER_ERROR, text, id_of(request));
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn not_a_message(request: &Bytes) -> Response<Body> {
    let (code, text) = match serde_json::from_slice::<IgnoredAny>(request) {
        Err(_) => (PARSE_ERROR, "Parse error: the body is not JSON"),
        Ok(_) if request.trim_ascii_start().first() == Some(&b'[') => {
            (INVALID_REQUEST, "Invalid request: batches are not supported")
        }
        Ok(_) => (
            INVALID_REQUEST,
            "Invalid request: the body is not a JSON-RPC 2.0 message",
        ),
    };
    respond(StatusCode::BAD_REQUEST, code, text, id_of(request))
}

/// The id that an answer has to carry, as far as there is one.
fn id_of(request: &Bytes) -> Value {
    #[derive(Deserialize)]
    struct WithId {
        id: Option<Value>,
        method: Option<IgnoredAny>,
    }
    match serde_json::from_slice(request) {
        Ok(WithId {
            id: Some(id @ (Value::String(_) | Value::Number(_))),
            method: Some(_),
        }) => id,
        _ => Value::Null,
    }
}

fn respond(status: StatusCode, code: i32, message: &str, id: Value) -> Response<Body> {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
