//! The two stores behind one face: each test gets one of its own, which any number of replicas may open.

use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dynamic_mcp_control_plane::registry::{
    Change, PostgresConfig, PostgresRegistry, Registry, RuntimeChoice, SqliteRegistry, ToolName, ToolSpec,
};
use dynamic_mcp_control_plane::tenant::{TenantDefaults, TenantLimits};
use dynamic_mcp_shared::clock::ManualClock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Isolation, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::TimeoutMs;
use futures::FutureExt;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio::sync::broadcast;

/// Owns the tests' tables. Not a superuser, so row-level security holds for it.
pub const ROLE: &str = "dynamic_mcp_test";
/// Owns nothing, and is let in by `prepare`.
pub const SERVICE: &str = "dynamic_mcp_test_service";
pub const MAINTENANCE: &str = "dynamic_mcp_test_maintenance";

pub struct Store {
    pub clock: Arc<ManualClock>,
    pub lifecycle: Lifecycle,
    backend: Backend,
}

pub enum Backend {
    Sqlite { folder: tempfile::TempDir },
    Postgres { schema: String },
}

pub async fn with_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Arc<Store>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    run(Backend::Sqlite { folder }, test).await;
}

pub async fn with_postgres<F: Future<Output = ()>>(test: impl FnOnce(Arc<Store>) -> F) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let schema = format!("test_{}_{number}", std::process::id());
    ensure_role().await;
    run(
        Backend::Postgres {
            schema: schema.clone(),
        },
        test,
    )
    .await;
}

/// The store is taken away after the test whether it passed or not.
async fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(Arc<Store>) -> F) {
    let start = DateTime::parse_from_rfc3339("2026-01-02T03:04:05.678Z").unwrap();
    let store = Arc::new(Store {
        clock: Arc::new(ManualClock::at(start.with_timezone(&Utc))),
        lifecycle: Lifecycle::new(Duration::from_secs(5)),
        backend,
    });
    let ended = std::panic::AssertUnwindSafe(test(store.clone()))
        .catch_unwind()
        .await;
    store.lifecycle.begin_shutdown();
    if let Backend::Postgres { schema } = &store.backend {
        let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(&mut superuser().await)
            .await
            .unwrap();
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Store {
    /// Opens it once more, as another process would.
    pub async fn replica(&self) -> Arc<dyn Registry> {
        match &self.backend {
            Backend::Sqlite { .. } => Arc::new(self.sqlite().await),
            Backend::Postgres { .. } => Arc::new(self.postgres(&postgres_url()).await),
        }
    }

    pub fn path(&self) -> PathBuf {
        match &self.backend {
            Backend::Sqlite { folder } => folder.path().join("made/on/demand/tools.sqlite"),
            Backend::Postgres { .. } => panic!("not a file"),
        }
    }

    pub fn schema(&self) -> &str {
        match &self.backend {
            Backend::Sqlite { .. } => panic!("no schema"),
            Backend::Postgres { schema } => schema,
        }
    }

    pub async fn sqlite(&self) -> SqliteRegistry {
        SqliteRegistry::open(&self.path(), self.clock.clone(), self.lifecycle.clone())
            .await
            .unwrap()
    }

    pub async fn postgres(&self, url: &str) -> PostgresRegistry {
        PostgresRegistry::connect(
            self.postgres_config(url),
            self.clock.clone(),
            self.lifecycle.clone(),
        )
        .await
        .unwrap()
    }

    pub fn postgres_config(&self, url: &str) -> PostgresConfig {
        self.postgres_config_as(url, ROLE)
    }

    pub fn postgres_config_as(&self, url: &str, role: &str) -> PostgresConfig {
        PostgresConfig {
            url: as_role(url, role).into(),
            schema: self.schema().to_owned(),
            init_max_attempts: 3,
            init_backoff: Duration::from_millis(50),
        }
    }
}

pub fn postgres_url() -> String {
    std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL is not set: these tests need a Postgres server; scripts/test starts one and sets it",
    )
}

pub async fn superuser() -> PgConnection {
    let options = PgConnectOptions::from_str(&postgres_url()).expect("TEST_POSTGRES_URL is a URL");
    options
        .connect()
        .await
        .expect("the Postgres of TEST_POSTGRES_URL answers")
}

/// The same server and login, acting as a role.
fn as_role(url: &str, role: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[role]={role}")
}

async fn ensure_role() {
    static DONE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    DONE.get_or_init(async || {
        // The lock, held until all of it is committed: another test process may do the same now.
        let sql = format!(
            "SELECT pg_advisory_xact_lock(7031);
             DO $$ DECLARE role text; BEGIN
                 FOREACH role IN ARRAY ARRAY['{ROLE}', '{SERVICE}', '{MAINTENANCE}'] LOOP
                     IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                         EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', role);
                     END IF;
                 END LOOP;
                 EXECUTE format('GRANT CREATE ON DATABASE %I TO {ROLE}', current_database());
             END $$;"
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut superuser().await)
            .await
            .unwrap();
    })
    .await;
}

/// Of a tenant for which nothing is set.
pub fn defaults() -> TenantDefaults {
    TenantDefaults {
        limits: limits(),
        policy: Arc::default(),
    }
}

pub fn limits() -> TenantLimits {
    TenantLimits {
        max_tools: 10,
        max_concurrency: 8,
        max_calls_per_window: None,
        weight: 1,
        max_sessions: 10,
        max_sandboxes: 4,
        max_memory_mb: None,
    }
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub fn name(name: &str) -> ToolName {
    name.parse().unwrap()
}

pub fn spec(tool: &str) -> ToolSpec {
    ToolSpec {
        name: name(tool),
        title: Some("A tool".to_owned()),
        description: "Says \"hello\" \u{0} – and more".to_owned(),
        code: "return args.text + '\\u0000'".to_owned(),
        runtime: RuntimeChoice::Node,
        runs_on: Runtime::Node,
        image: "node:lts-slim".to_owned(),
        timeout_ms: TimeoutMs::DEFAULT,
        dependencies: Vec::new(),
        dependency_lock: None,
        isolation: Isolation::Call,
        input_schema: Some(serde_json::json!({
            "type": "object",
            "properties": {"text": {"type": "string"}, "rate": {"type": "number", "maximum": 1.0e3}},
        })),
        output_schema: None,
        examples: Vec::new(),
        enabled: true,
    }
}

/// Waits for a change that tells of the tenant, or of anything.
pub async fn expect_change(changes: &mut broadcast::Receiver<Change>, tenant: &TenantId) {
    let told = async {
        loop {
            match changes.recv().await {
                Ok(Change::Tenant(told)) if told != *tenant => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .expect("the change is told");
}

pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
