//! The composition root: every part is built here, and nowhere else.

mod executors;
mod monitor;
mod sandboxes;
mod store;
mod trust;

use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::clock::{Clock, SystemClock};
use dynamic_mcp_shared::ids::ReplicaId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::executors::{Executors, Others};
use crate::audit::{Audit, Keeper, Trail};
use crate::auth::jwt::{IssuerKeys, Jwt};
use crate::auth::{AdminGate, Gate, JwksUrl};
use crate::catalog::{Catalog, CatalogConfig, CatalogDeps};
use crate::config::{Cli, Settings, Transport, runtime_config};
use crate::fleet_admin::FleetAdmin;
use crate::guard::{Guard, Lease, MemoryGuard, RedisGuard, RedisGuardConfig};
use crate::http::{self, HttpState, Metrics, OriginPolicy, ServerConfig};
use crate::jobs::{Jobs, JobsDeps};
use crate::mcp::http::HttpMcpConfig;
use crate::mcp::session::{Alone, SessionBus, SharedSessions};
use crate::mcp::{self, McpDeps};
use crate::redis::Redis;
use crate::registry::Registry;
use crate::registry::cache::ToolCache;
use crate::runtimes::Runtimes;
use crate::scheduler::fleet::Fleet;
use crate::scheduler::{Scheduler, SchedulerConfig};
use crate::tenant::{TenantDefaults, Tenants};

pub struct App {
    settings: Settings,
    lifecycle: Lifecycle,
    readiness: Readiness,
    audit: Audit,
    audit_keeper: Keeper,
    registry: Arc<dyn Registry>,
    executors: Executors,
    metrics: Metrics,
    mcp: Arc<McpDeps>,
    redis: Option<Redis>,
}

impl App {
    /// Builds every part and starts what runs in the background. Nothing is served yet.
    ///
    /// # Errors
    /// When the registry, the audit file, the fleet's address or the executor's state can't be used.
    pub async fn build(cli: &Cli, settings: Settings, lifecycle: Lifecycle) -> anyhow::Result<Self> {
        let started = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let replica = ReplicaId::generate();
        tracing::info!(%replica, "starting");
        // Before the first part that counts something.
        let metrics = Metrics::install(started)?;
        metrics.keep_up(&lifecycle);
        let readiness = Readiness::default();
        let audit = Audit::open(&settings.audit, clock.clone(), readiness.clone())?;
        let redis = match &settings.redis {
            Some(config) => Some(Redis::start(config, readiness.clone()).await?),
            None => None,
        };
        let registry = store::open(&settings.registry.backend, clock.clone(), &lifecycle).await?;
        let backend = &settings.registry.backend;
        let (audit_keeper, audit_store) =
            store::keep_audit(&audit, &settings.audit, backend, &readiness, &lifecycle)?;
        let defaults = TenantDefaults {
            limits: settings.tenant.clone(),
            policy: Arc::new(settings.policy.clone()),
        };
        let cache = Arc::new(ToolCache::new(registry.clone(), defaults, &lifecycle));
        let fleet = Arc::new(Fleet::default());
        let others = redis.clone().map(|redis| Others {
            redis,
            replica: replica.clone(),
        });
        let executors = executors(cli, &settings, &fleet, others, &readiness, &lifecycle).await?;
        monitor::start(
            &lifecycle,
            &readiness,
            registry.clone(),
            cache.clone(),
            fleet.clone(),
        );

        let runtimes = Arc::new(Runtimes::new(fleet.clone(), settings.registry.default_runtime));
        let scheduler = Arc::new(Scheduler::new(fleet.clone(), SchedulerConfig::default()));
        let admin = AdminGate::new(settings.registry.admin_token.clone());
        let sandboxes = sandboxes::start(&settings.sandbox, redis.as_ref(), &fleet, &clock, &lifecycle);
        let guard = guard(&settings, redis.clone(), replica.clone(), &lifecycle);
        let jobs = Arc::new(Jobs::new(JobsDeps {
            guard: guard.clone(),
            cache: cache.clone(),
            audit: audit.clone(),
            scheduler: scheduler.clone(),
            runtimes: runtimes.clone(),
            sandboxes,
            admin: admin.clone(),
            lifecycle: lifecycle.clone(),
        }));
        let trail = Trail::new(audit.clone(), audit_store, admin.clone());
        let fleet = FleetAdmin {
            fleet,
            replica,
            audit: audit.clone(),
            admin: admin.clone(),
        };
        let tenants = Arc::new(Tenants {
            registry: registry.clone(),
            cache: cache.clone(),
            audit: audit.clone(),
            admin: admin.clone(),
        });
        let catalog = Catalog::new(
            CatalogDeps {
                registry: registry.clone(),
                cache: cache.clone(),
                scheduler,
                runtimes: runtimes.clone(),
                jobs: jobs.clone(),
                audit: audit.clone(),
            },
            CatalogConfig {
                read_only: settings.registry.read_only,
                admin,
                reserved: &mcp::BUILTIN_NAMES,
            },
        );
        let mcp = Arc::new(McpDeps {
            catalog: Arc::new(catalog),
            tenants,
            trail,
            cache,
            jobs,
            runtimes,
            guard,
            fleet,
            audit: audit.clone(),
            readiness: readiness.clone(),
            runtime_config: described(cli, &settings),
            profile: settings.profile,
            started,
            clock,
        });
        Ok(Self {
            settings,
            lifecycle,
            readiness,
            audit,
            audit_keeper,
            registry,
            executors,
            metrics,
            mcp,
            redis,
        })
    }

    /// Serves until the lifecycle ends, or stdin does; then takes everything down in order.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn run(self) -> anyhow::Result<()> {
        let served = match self.settings.transport {
            Transport::Http => self.serve_http().await,
            Transport::Stdio => self.serve_stdio().await,
        };
        self.lifecycle.begin_shutdown();
        self.stop().await;
        served
    }

    async fn serve_http(&self) -> anyhow::Result<()> {
        let settings = &self.settings.http;
        let listener = TcpListener::bind((settings.host.as_str(), settings.port))
            .await
            .with_context(|| {
                format!(
                    "MCP_HOST, MCP_PORT: {}:{} can't be bound",
                    settings.host, settings.port
                )
            })?;
        let address = listener.local_addr()?;
        let config = HttpMcpConfig::new(settings.session_ttl, settings.max_request_bytes);
        let gate = Arc::new(self.gate().await?);
        let service = mcp::http::service(
            self.mcp.clone(),
            gate.clone(),
            self.session_bus(),
            &config,
            &self.lifecycle,
        );
        let state = HttpState {
            gate,
            readiness: self.readiness.clone(),
            runtimes: self.mcp.runtimes.clone(),
            metrics: self.metrics.clone(),
            path: settings.path.clone(),
            origins: Arc::new(OriginPolicy::new(
                &settings.host,
                &settings.allowed_hosts,
                &settings.allowed_origins,
            )),
            max_request_bytes: settings.max_request_bytes,
        };
        tracing::info!(%address, path = settings.path, "listening");
        let config = ServerConfig {
            max_connections: settings.max_connections,
        };
        let router = http::router(service, state);
        http::serve(
            listener,
            router,
            config,
            self.readiness.clone(),
            self.lifecycle.clone(),
        )
        .await;
        Ok(())
    }

    fn session_bus(&self) -> Arc<dyn SessionBus> {
        let (replica, ttl) = (self.mcp.fleet.replica.clone(), self.settings.http.session_ttl);
        match &self.redis {
            Some(redis) => Arc::new(SharedSessions::new(redis.clone(), replica, ttl)),
            None => Arc::new(Alone::new(replica)),
        }
    }

    async fn gate(&self) -> anyhow::Result<Gate> {
        let Some(auth) = &self.settings.auth else {
            return Ok(Gate::open());
        };
        let source = JwksUrl::new(auth.jwks_url.clone(), auth.authority.as_deref())
            .map_err(|error| anyhow::anyhow!("MCP_AUTH_CA_FILE: {error}"))?;
        let keys = IssuerKeys::start(
            Box::new(source),
            auth.jwks_refresh,
            self.readiness.clone(),
            &self.lifecycle,
        )
        .await;
        let jwt = Jwt::new(auth.jwt.clone(), keys, self.mcp.clock.clone());
        Ok(Gate::Jwt(Box::new(jwt)))
    }

    async fn serve_stdio(&self) -> anyhow::Result<()> {
        let (stdin, stdout) = mcp::stdio::streams();
        mcp::stdio::serve(self.mcp.clone(), &self.lifecycle, stdin, stdout).await?;
        Ok(())
    }

    async fn stop(self) {
        self.readiness.set_draining();
        if !self.lifecycle.finish().await {
            tracing::warn!("some tasks did not end in time");
        }
        self.executors.shutdown().await;
        if let Some(redis) = &self.redis {
            redis.stop().await;
        }
        self.registry.close().await;
        if !self.audit.flush_and_close().await {
            tracing::error!("the last audit lines could not be written");
        }
        if !self.audit_keeper.finish().await {
            tracing::warn!("the audit's store lacks the last lines; the next start brings them");
        }
        tracing::info!("stopped");
    }
}

/// One for all replicas where they share a Redis.
fn guard(
    settings: &Settings,
    redis: Option<Redis>,
    replica: ReplicaId,
    lifecycle: &Lifecycle,
) -> Arc<dyn Guard> {
    let Some(redis) = redis else {
        return Arc::new(MemoryGuard::new(settings.guard));
    };
    let config = RedisGuardConfig {
        guard: settings.guard,
        on_loss: settings.guard_on_loss,
        lease: Lease::default(),
    };
    Arc::new(RedisGuard::start(config, redis, replica, lifecycle))
}

async fn executors(
    cli: &Cli,
    settings: &Settings,
    fleet: &Arc<Fleet>,
    others: Option<Others>,
    readiness: &Readiness,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Executors> {
    if let Some(settings) = settings.fleet.clone() {
        return Executors::joining(settings, fleet, others, readiness, lifecycle).await;
    }
    // An executor in this process is reached by nobody else.
    drop(others);
    #[cfg(feature = "embedded-executor")]
    return Executors::embedded(&cli.engine, &settings.policy, fleet, lifecycle).await;
    #[cfg(not(feature = "embedded-executor"))]
    {
        let _ = cli;
        anyhow::bail!(
            "MCP_FLEET_BIND is not set, and this build has no executor of its own: set it, so that executors can join"
        )
    }
}

/// What `system.runtime_config` shows.
fn described(cli: &Cli, settings: &Settings) -> serde_json::Value {
    #[cfg_attr(
        not(feature = "embedded-executor"),
        expect(unused_mut, reason = "only that feature adds to it")
    )]
    let mut config = runtime_config(settings);
    #[cfg(feature = "embedded-executor")]
    if settings.fleet.is_none() {
        config["engine"] = crate::config::engine_config(&cli.engine);
    }
    #[cfg(not(feature = "embedded-executor"))]
    let _ = cli;
    config
}
