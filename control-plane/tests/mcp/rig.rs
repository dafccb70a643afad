//! The endpoint with everything behind it, and the two ways in which clients talk to it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use dynamic_mcp_control_plane::audit::{Audit, Trail};
use dynamic_mcp_control_plane::auth::{AdminGate, Gate};
use dynamic_mcp_control_plane::catalog::{Catalog, CatalogConfig, CatalogDeps};
use dynamic_mcp_control_plane::fleet_admin::FleetAdmin;
use dynamic_mcp_control_plane::guard::{Guard, GuardConfig, GuardLimits, MemoryGuard, Share};
use dynamic_mcp_control_plane::jobs::{Jobs, JobsDeps};
use dynamic_mcp_control_plane::mcp::http::{HttpMcpConfig, McpService};
use dynamic_mcp_control_plane::mcp::session::Alone;
use dynamic_mcp_control_plane::mcp::{self, McpDeps, Profile};
use dynamic_mcp_control_plane::principal::{Access, Principal};
use dynamic_mcp_control_plane::registry::Registry;
use dynamic_mcp_control_plane::registry::SqliteRegistry;
use dynamic_mcp_control_plane::registry::cache::ToolCache;
use dynamic_mcp_control_plane::runtimes::Runtimes;
use dynamic_mcp_control_plane::sandbox::{FileLimits, MemoryDirectory, SandboxConfig, Sandboxes, Times};
use dynamic_mcp_control_plane::scheduler::fleet::Fleet;
use dynamic_mcp_control_plane::scheduler::{Scheduler, SchedulerConfig};
use dynamic_mcp_control_plane::tenant::{TenantDefaults, TenantLimits, Tenants};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::Runtime;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::readiness::Readiness;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::Service as _;

use crate::executor::{self, Joined};

pub const MODERN: &str = "2026-07-28";
pub const LEGACY: &str = "2025-11-25";
/// Longer than anything takes that does not hang.
pub const SOON: Duration = Duration::from_secs(10);

pub struct Rig {
    pub deps: Arc<McpDeps>,
    pub lifecycle: Lifecycle,
    pub service: McpService,
    pub executor: Joined,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(
            Profile::Enterprise,
            HttpMcpConfig::new(Duration::from_secs(60), 1 << 20),
        )
        .await
    }

    /// With an executor that offers these runtimes.
    pub async fn offering(runtimes: &[Runtime]) -> Self {
        let config = HttpMcpConfig::new(Duration::from_secs(60), 1 << 20);
        Self::build(Profile::Enterprise, config, runtimes).await
    }

    pub async fn with(profile: Profile, config: HttpMcpConfig) -> Self {
        Self::build(profile, config, &[Runtime::Node]).await
    }

    async fn build(profile: Profile, config: HttpMcpConfig, offered: &[Runtime]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let clock = Arc::new(SystemClock);
        let registry = SqliteRegistry::open(&dir.path().join("tools.db"), clock.clone(), lifecycle.clone())
            .await
            .expect("a store");
        let registry: Arc<dyn Registry> = Arc::new(registry);
        let cache = Arc::new(ToolCache::new(registry.clone(), defaults(), &lifecycle));
        let fleet = Arc::new(Fleet::default());
        let executor = executor::join(&fleet, offered);
        let sandboxes = Arc::new(Sandboxes::new(
            Arc::new(MemoryDirectory::new(Times::for_sessions_of(SANDBOXES.max_life))),
            fleet.clone(),
            SANDBOXES,
            clock.clone(),
            lifecycle.clone(),
        ));
        let runtimes = Arc::new(Runtimes::new(fleet.clone(), None));
        let scheduler = Arc::new(Scheduler::new(fleet.clone(), SchedulerConfig::default()));
        let audit = Audit::disabled();
        let fleet = FleetAdmin {
            fleet,
            replica: ReplicaId::generate(),
            audit: audit.clone(),
            admin: AdminGate::default(),
        };
        let guard: Arc<dyn Guard> = Arc::new(MemoryGuard::new(guard_config()));
        let catalog = CatalogConfig {
            read_only: false,
            admin: AdminGate::default(),
            reserved: mcp::builtin_names(),
        };
        let jobs = Arc::new(Jobs::new(JobsDeps {
            guard: guard.clone(),
            cache: cache.clone(),
            audit: audit.clone(),
            scheduler: scheduler.clone(),
            runtimes: runtimes.clone(),
            sandboxes,
            admin: AdminGate::default(),
            lifecycle: lifecycle.clone(),
        }));
        let tenants = Arc::new(Tenants {
            registry: registry.clone(),
            cache: cache.clone(),
            audit: audit.clone(),
            admin: AdminGate::default(),
        });
        let catalog = Catalog::new(
            CatalogDeps {
                registry,
                cache: cache.clone(),
                scheduler,
                runtimes: runtimes.clone(),
                jobs: jobs.clone(),
                audit: audit.clone(),
            },
            catalog,
        );
        let readiness = Readiness::default();
        readiness.set_loaded();
        let deps = Arc::new(McpDeps {
            trail: Trail::new(audit.clone(), None, AdminGate::default()),
            catalog: Arc::new(catalog),
            tenants,
            cache,
            jobs,
            runtimes,
            guard,
            fleet,
            audit,
            readiness,
            runtime_config: json!({"dynamic": {"backend": "file"}}),
            profile,
            started: Instant::now(),
            clock,
        });
        let gate = Arc::new(Gate::open());
        let alone = Arc::new(Alone::new(ReplicaId::generate()));
        let service = mcp::http::service(deps.clone(), gate, alone, &config, &lifecycle);
        Self {
            deps,
            lifecycle,
            service,
            executor,
            _dir: dir,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.clone().call(request).await.expect("infallible");
        Answer::new(response)
    }

    /// One request of the newest era.
    pub async fn modern(&self, method: &str, params: Value) -> Answer {
        self.send(modern_request(1, method, params)).await
    }

    /// The result of a request of the newest era.
    pub async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.modern(method, params).await;
        assert_eq!(answer.status(), 200);
        let message = answer.message().await;
        assert!(message["error"].is_null(), "{message}");
        message["result"].clone()
    }

    /// The result of a call of a tool.
    pub async fn call(&self, name: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": name, "arguments": arguments}))
            .await
    }

    pub async fn create(&self, tool: Value) {
        let result = self.call("dynamic.tool.create", json!({"tool": tool})).await;
        assert_eq!(result["isError"], false, "{result}");
    }

    pub async fn active_executions(&self) -> u32 {
        self.active_executions_of(&TenantId::default()).await
    }

    pub async fn active_executions_of(&self, tenant: &TenantId) -> u32 {
        let share = Share::from(&defaults().limits);
        self.deps.guard.metrics(tenant, share).await.active_executions
    }

    /// Waits until so many executions hold a permit.
    pub async fn until_active(&self, count: u32) {
        let reached = async {
            while self.active_executions().await != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, reached)
            .await
            .expect("the executions begin or end");
    }
}

fn defaults() -> TenantDefaults {
    TenantDefaults {
        limits: TenantLimits {
            max_tools: 500,
            max_concurrency: 64,
            max_calls_per_window: None,
            weight: 1,
            max_sessions: 10_000,
            max_sandboxes: 4,
            max_memory_mb: None,
        },
        policy: Arc::new(SandboxPolicy::default()),
    }
}

const SANDBOXES: SandboxConfig = SandboxConfig {
    max_sessions: 1_000,
    idle: Duration::from_secs(1_800),
    max_life: Duration::from_secs(14_400),
    files: FileLimits {
        max_file_bytes: 1_000,
        max_total_bytes: 4_000,
    },
};

fn guard_config() -> GuardConfig {
    GuardConfig {
        limits: GuardLimits {
            max_concurrency: 64,
            max_calls_per_window: 10_000,
            window_ms: 60_000,
        },
        queue_wait: Duration::from_millis(100),
        max_waiting: 64,
    }
}

pub fn somebody(tenant: &str) -> Access {
    let principal = Principal {
        tenant: tenant.parse().expect("a tenant"),
        subject: tenant.to_owned(),
        client: "test".to_owned(),
    };
    Access {
        principal: Arc::new(principal),
        ..Access::anonymous()
    }
}

pub fn modern_request(id: u64, method: &str, mut params: Value) -> Request<Body> {
    let name = params["name"]
        .as_str()
        .or(params["uri"].as_str())
        .map(str::to_owned);
    let meta = params
        .as_object_mut()
        .expect("an object")
        .entry("_meta")
        .or_insert(json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let mut request = post(MODERN)
        .header("mcp-method", method)
        .body(message(Some(id), method, &params))
        .expect("a request");
    if let Some(name) = name {
        request
            .headers_mut()
            .insert("mcp-name", name.parse().expect("a header"));
    }
    request
}

pub fn post(version: &str) -> http::request::Builder {
    Request::post("http://localhost/mcp")
        .extension(Access::anonymous())
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", version)
}

pub fn message(id: Option<u64>, method: &str, params: &Value) -> Body {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if let Some(id) = id {
        message["id"] = id.into();
    }
    Body::from(message.to_string())
}

/// An answer whose body is read as far as the test wants.
pub struct Answer {
    response: Response<Body>,
    buffer: String,
}

impl Answer {
    fn new(response: Response<Body>) -> Self {
        Self {
            response,
            buffer: String::new(),
        }
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.response
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("a text").to_owned())
    }

    pub fn is_stream(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The body as one JSON message, or the last message of the stream.
    pub async fn message(mut self) -> Value {
        if !self.is_stream() {
            let body = self
                .response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            return serde_json::from_slice(&body).expect("JSON");
        }
        let mut last = None;
        while let Some(message) = self.next().await {
            last = Some(message);
        }
        last.expect("a message")
    }

    /// The next message of the stream; `None` when it has ended.
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(SOON, self.next_event())
            .await
            .expect("the stream says something")
    }

    /// Whether the stream stays silent for so long.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.next_event()).await.is_err()
    }

    async fn next_event(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data: String = event
                    .lines()
                    .filter_map(|line| line.strip_prefix("data:"))
                    .map(str::trim)
                    .collect();
                self.buffer = rest.to_owned();
                if data.is_empty() {
                    continue;
                }
                return Some(serde_json::from_str(&data).expect("JSON"));
            }
            let mut frames = self.response.body_mut().into_data_stream();
            let chunk = frames.next().await?.expect("a frame");
            self.buffer.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
}
