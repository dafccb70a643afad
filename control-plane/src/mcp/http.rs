//! Streamable HTTP: one endpoint for both eras. What speaks the protocol is rmcp; around it is what it leaves out.

mod endpoint;
mod errors;
pub(super) mod in_front;
mod rights;
mod twice;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio_util::sync::CancellationToken;
use tower::Service;

pub use self::endpoint::{Endpoint, EndpointConfig};
pub(super) use self::in_front::called_tool;
use super::session::{SessionBus, SessionLimits};
use super::{DynamicMcp, McpDeps, refused, request};
use crate::auth::Gate;
use crate::http::refuse;
use crate::principal::Access;

const SESSION_ID: &str = "mcp-session-id";
/// How long a client may take to send a request's body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct HttpMcpConfig {
    /// A legacy session in which nothing happens for so long is closed.
    pub session_ttl: Duration,
    /// Legacy sessions at once, of all replicas together; one more pushes out the one that has been idle the longest.
    pub max_sessions: usize,
    /// Of a request's body.
    pub max_body_bytes: usize,
    /// How often an open stream without news gets a comment, so that nothing in between takes it for dead.
    pub stream_keep_alive: Duration,
}

impl HttpMcpConfig {
    /// With 10,000 sessions at once and a comment every 15 seconds.
    pub fn new(session_ttl: Duration, max_body_bytes: usize) -> Self {
        Self {
            session_ttl,
            max_sessions: 10_000,
            max_body_bytes,
            stream_keep_alive: Duration::from_secs(15),
        }
    }
}

/// The endpoint, to be mounted where `MCP_PATH` says. Host, Origin and authentication are checked in front of it; who the
/// caller is comes as [`Access`] among the request's extensions; a request without one is refused.
#[derive(Clone)]
pub struct McpService(Arc<Inner>);

struct Inner {
    endpoint: Endpoint<DynamicMcp>,
    deps: Arc<McpDeps>,
    gate: Arc<Gate>,
    max_body_bytes: usize,
}

/// Streams without a running call end when the lifecycle's soft token is cancelled; the others with their call, which the
/// hard one cancels.
pub fn service(
    deps: Arc<McpDeps>,
    gate: Arc<Gate>,
    bus: Arc<dyn SessionBus>,
    config: &HttpMcpConfig,
    lifecycle: &Lifecycle,
) -> McpService {
    let limits = SessionLimits {
        max: config.max_sessions,
        most: {
            let deps = deps.clone();
            Arc::new(move |tenant| Box::pin(most(deps.clone(), tenant)))
        },
        ttl: config.session_ttl,
    };
    let factory = {
        let (deps, lifecycle) = (deps.clone(), lifecycle.clone());
        Arc::new(move || DynamicMcp::new(deps.clone(), lifecycle.clone()))
    };
    let endpoint = EndpointConfig {
        max_body_bytes: config.max_body_bytes,
        stream_keep_alive: config.stream_keep_alive,
    };
    McpService(Arc::new(Inner {
        endpoint: Endpoint::start(factory, limits, bus, endpoint, lifecycle),
        deps,
        gate,
        max_body_bytes: config.max_body_bytes,
    }))
}

/// How many sessions a tenant may have. While that can't be had, the defaults hold.
async fn most(deps: Arc<McpDeps>, tenant: TenantId) -> usize {
    let limit = match deps.cache.tools(&tenant).await {
        Ok(tools) => tools.tenant().limits.max_sessions,
        Err(_) => deps.cache.defaults().limits.max_sessions,
    };
    limit as usize
}

impl Service<Request<Body>> for McpService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.handle(request).await) })
    }
}

impl Inner {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Some(access) = parts.extensions.get::<Access>().cloned() else {
            tracing::error!(
                "an HTTP request came by without anybody having looked at who sends it; it is refused"
            );
            return errors::internal();
        };
        let body = match collect(body, self.max_body_bytes).await {
            Ok(body) => body,
            Err(status) => return errors::refused_body(status, self.max_body_bytes),
        };
        if let Err(ambiguous) = twice::check(&body) {
            return errors::ambiguous(&ambiguous, &body);
        }
        // Here, where it can be told with a status and a challenge; what does the work asks again.
        if let Some(needed) = rights::needed(self.deps.profile, &body)
            && let Err(denied) = self.gate.require(&access, needed)
        {
            self.record_refusal(&access, &parts, &body).await;
            return refuse(&self.gate, &denied, &parts.headers);
        }
        let tools = match header(&parts.headers, "mcp-method") {
            Some("tools/call") => self.deps.cache.tools(&access.principal.tenant).await.ok(),
            _ => None,
        };
        self.endpoint.serve_with(access, tools, parts, body).await
    }

    async fn record_refusal(&self, access: &Access, parts: &Parts, body: &[u8]) {
        let Some(call) = rights::called(body) else { return };
        let id = request::id_among(Some(&parts.extensions));
        let caller = request::caller(access, id, CancellationToken::new());
        refused::record(&self.deps, &caller, &call.name, call.arguments()).await;
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn collect(body: Body, max_bytes: usize) -> Result<Bytes, StatusCode> {
    let collecting = Limited::new(body, max_bytes).collect();
    match tokio::time::timeout(BODY_DEADLINE, collecting).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
