//! Logs to stderr (stdout may be an MCP channel) and spans to an OTLP collector when one is named.
//!
//! Some libraries print whole messages at `debug` and `trace`: request bodies of the Docker client, frames of HTTP/2,
//! JSON-RPC of rmcp. Those hold code and arguments, so their targets are capped in code, whatever the filter asks for.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Crates whose `debug` and `trace` lines could hold code, arguments, results or tokens.
const CAPPED_TARGETS: [&str; 12] = [
    "bollard",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "sqlx",
    "tonic",
    "tower",
    "tower_http",
    "jsonschema",
    "redis",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// The `service.name` of spans.
    pub service: &'static str,
    /// In the syntax of `tracing_subscriber::EnvFilter`: `info,dynamic_mcp_executor=debug`.
    pub filter: String,
    pub format: LogFormat,
    /// An OTLP/gRPC endpoint: `http://collector:4317`.
    pub otlp_endpoint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter {filter:?} can't be read: {source}")]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the OTLP exporter can't be built: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("a logger is already installed: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends what is still buffered when it is shut down.
#[derive(Debug)]
#[must_use = "spans are lost unless it is shut down"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Installs the process's logger and tracer. Must run inside a tokio runtime when an endpoint is set.
    ///
    /// # Errors
    /// When the filter or the endpoint can't be read, or a logger is there already.
    pub fn init(config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::try_new(&config.filter).map_err(|source| TelemetryError::Filter {
            filter: config.filter.clone(),
            source,
        })?;
        let filter = filter.and(filter_fn(cannot_print_contents));
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());

        let json = match config.format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let lines = if json {
            lines.json().flatten_event(true).boxed()
        } else {
            lines.boxed()
        };

        let provider = config
            .otlp_endpoint
            .as_deref()
            .map(|endpoint| tracer(config.service, endpoint))
            .transpose()?;
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(config.service))
                .with_filter(filter_fn(|metadata| {
                    cannot_print_contents(metadata) && metadata.target().starts_with("dynamic_mcp")
                }))
        });
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans)
            .try_init()?;
        Ok(Self(provider))
    }

    pub fn shutdown(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

fn tracer(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

fn cannot_print_contents(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    let cap = match crate_name {
        // It writes session ids and whole notifications at `info`, a few lines a request.
        "rmcp" => Level::WARN,
        name if CAPPED_TARGETS.contains(&name) => Level::INFO,
        _ => Level::TRACE,
    };
    *metadata.level() <= cap
}
