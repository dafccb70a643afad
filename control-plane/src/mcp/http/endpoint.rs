//! The transport for one kind of server object: rmcp's, on sessions that any replica can serve. It is the same whatever the
//! objects do.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;

use super::in_front::InFront;
use super::{SESSION_ID, errors, header};
use crate::mcp::session::{Factory, Found, SessionBus, SessionLimits, Sessions};
use crate::principal::Access;
use crate::registry::cache::TenantTools;

/// Of an `initialize`, which is kept as long as its session.
const MAX_OPENING_BYTES: usize = 64 * 1024;

/// What holds for every request, whatever it is about.
#[derive(Debug, Clone, Copy)]
pub struct EndpointConfig {
    pub max_body_bytes: usize,
    /// How often an open stream without news gets a comment, so that nothing in between takes it for dead.
    pub stream_keep_alive: Duration,
}

pub struct Endpoint<H: ServerHandler> {
    rmcp: StreamableHttpService<H, Sessions<H>>,
    sessions: Arc<Sessions<H>>,
}

impl<H: ServerHandler> Endpoint<H> {
    pub fn start(
        factory: Factory<H>,
        limits: SessionLimits,
        bus: Arc<dyn SessionBus>,
        config: EndpointConfig,
        lifecycle: &Lifecycle,
    ) -> Self {
        let sessions = Sessions::start(limits, factory.clone(), bus, lifecycle);
        let config = StreamableHttpServerConfig::default()
            .with_json_response(true)
            .with_max_request_body_bytes(config.max_body_bytes)
            .with_sse_keep_alive(Some(config.stream_keep_alive))
            // The layer in front has looked at both.
            .disable_allowed_hosts()
            .disable_allowed_origins();
        Self {
            rmcp: StreamableHttpService::new(move || Ok(factory()), sessions.clone(), config),
            sessions,
        }
    }

    /// A request of this one, whose body has been read.
    pub async fn serve(&self, access: Access, parts: Parts, body: Bytes) -> Response<Body> {
        self.serve_with(access, None, parts, body).await
    }

    /// The same; `tools` are those of the tenant, when the request calls one.
    pub(super) async fn serve_with(
        &self,
        access: Access,
        tools: Option<TenantTools>,
        mut parts: Parts,
        body: Bytes,
    ) -> Response<Body> {
        if let Some(id) = session_id(&parts) {
            match self.sessions.find(&id, &access).await {
                Found::Here => {}
                Found::Away => return errors::sessions_away(&body),
                // To one who did not begin it, a session is as one that never was. rmcp says of any that it has ended.
                Found::Nowhere if parts.method == Method::DELETE => return errors::no_such_session(),
                Found::Nowhere => {
                    parts.headers.insert(SESSION_ID, HeaderValue::from_static("none"));
                }
            }
        } else if body.len() > MAX_OPENING_BYTES && opens_a_session(&body) {
            return errors::opening_too_large(&body, MAX_OPENING_BYTES);
        }
        let request = Request::from_parts(parts, Full::new(body.clone()));
        let (response, in_front): (Response<BoxBody<Bytes, Infallible>>, _) =
            InFront::new(access, tools).scope(self.rmcp.handle(request)).await;
        errors::as_json_rpc(response, &body, in_front.refused()).await
    }
}

fn session_id(parts: &Parts) -> Option<String> {
    header(&parts.headers, SESSION_ID).map(str::to_owned)
}

fn opens_a_session(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        method: Cow<'a, str>,
    }
    serde_json::from_slice::<Message<'_>>(body).is_ok_and(|message| message.method == "initialize")
}
