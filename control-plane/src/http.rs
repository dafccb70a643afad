//! What is around the MCP endpoint: probes, metrics, headers, the checks in front of it, and the server itself. It knows
//! nothing of MCP but the path, and decides nothing about tools.

mod cors;
mod errors;
mod expiry;
mod front;
mod headers;
mod health;
mod metadata;
mod metrics;
mod origin;
mod server;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use dynamic_mcp_shared::readiness::Readiness;
use http::{Request, Response};
use tower::{Layer as _, Service};

pub use self::errors::denied as refuse;
pub use self::headers::RequestId;
pub use self::metrics::{Metrics, MetricsError};
pub use self::origin::OriginPolicy;
pub use self::server::{ServerConfig, serve};
use crate::auth::Gate;
use crate::runtimes::Runtimes;

#[derive(Clone)]
pub struct HttpState {
    pub readiness: Readiness,
    pub runtimes: Arc<Runtimes>,
    pub metrics: Metrics,
    pub gate: Arc<Gate>,
    /// `MCP_PATH`.
    pub path: String,
    /// Who may call, as far as a browser can be told apart.
    pub origins: Arc<OriginPolicy>,
    /// A request that announces a larger body is refused. One that announces nothing is counted where it is read.
    pub max_request_bytes: usize,
}

/// Serves `mcp` at its path, behind the checks, and the probes and metrics beside it. A request that reaches `mcp`
/// carries an `x-request-id` header, and [`RequestId`] and [`crate::principal::Access`] among its extensions.
pub fn router<S>(mcp: S, state: HttpState) -> Router
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let path = state.path.clone();
    let mcp = from_fn_with_state(state.clone(), front::check).layer(mcp);
    let mut router = Router::new();
    if let Some(challenger) = state.gate.challenger() {
        for place in challenger.metadata_paths(&path) {
            router = router.route(&place, get(metadata::protected_resource));
        }
    }
    router
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::scrape))
        .route_service(&path, mcp)
        .fallback(errors::not_found)
        .method_not_allowed_fallback(errors::method_not_allowed)
        .layer(from_fn(headers::on_every_answer))
        .with_state(state)
}
