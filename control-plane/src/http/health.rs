//! The probes of an orchestrator.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde_json::json;

use super::HttpState;

/// The process runs; nothing else is looked at, since a restart mends nothing else.
pub(super) async fn livez() -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "status": "ok" }))).into_response()
}

/// 503 until the first load and while draining. A degraded part does not take the replica out of service; it is named.
/// `executors` says what each of them runs code with.
pub(super) async fn readyz(State(state): State<HttpState>) -> Response {
    let report = state.readiness.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut report = json!(report);
    let executors = state.runtimes.by_executor();
    if executors != json!({}) {
        report["executors"] = executors;
    }
    (status, [(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}
