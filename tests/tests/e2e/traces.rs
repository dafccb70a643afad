//! Spans of a call, as a collector gets them over OTLP from both planes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The names of the spans of our trace, by the service that sent them.
type Spans = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

struct Collector(Spans);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name");
            let service = format!("{:?}", name.and_then(|name| name.value));
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let ours = spans
                .filter(|span| hex(&span.trace_id) == TRACE_ID)
                .map(|span| span.name);
            self.0.lock().entry(service).or_default().extend(ours);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn collector() -> Result<(String, Spans, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let spans = Spans::default();
    let service = TraceServiceServer::new(Collector(spans.clone()));
    let serve = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
    let task = tokio::spawn(async move {
        let _served_until_aborted = serve.await;
    });
    Ok((endpoint, spans, AbortOnDropHandle::new(task)))
}

#[tokio::test]
async fn one_trace_goes_from_the_client_through_both_planes() -> Result<()> {
    let (endpoint, spans, _collector) = collector().await?;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let control = ControlPlane::start(&settings).await?;
    let executor = Executor::start(&control, &settings).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    let params = json!({
        "name": "run_js_ephemeral",
        "arguments": {"code": "return 1"},
        "_meta": {"traceparent": format!("00-{TRACE_ID}-00f067aa0ba902b7-01")},
    });
    client.ask("tools/call", params).await?;
    executor.stop().await;
    control.stop().await;

    eventually(Duration::from_secs(10), async || {
        let spans = spans.lock().clone();
        let has = |service: &str, name: &str| {
            spans
                .iter()
                .any(|(from, names)| from.contains(service) && names.iter().any(|span| span == name))
        };
        let stages = ["mcp", "job", "guard", "place", "prepare", "run"];
        let control_plane = stages.into_iter().all(|stage| has("\"dynamic-mcp\"", stage));
        let executor = ["prepare", "run"]
            .into_iter()
            .all(|stage| has("dynamic-mcp-executor", stage));
        if control_plane && executor {
            Ok(())
        } else {
            Err(format!("{spans:?}"))
        }
    })
    .await;
    Ok(())
}
