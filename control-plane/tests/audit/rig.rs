//! Servers on one audit file and one database, without anything but their audit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::audit::command::{AuditPlaces, VerifyArgs, verify};
use dynamic_mcp_control_plane::audit::{
    Action, Audit, AuditConfig, Entry, Keeper, KeyFile, OnLoss, PostgresAudit, Unaudited, Verdict, Verified,
};
use dynamic_mcp_control_plane::principal::{Caller, Principal, Rights};
use dynamic_mcp_control_plane::registry::{Roles, prepare};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::readiness::Readiness;
use serde_json::Map;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use crate::stores::{MAINTENANCE, ROLE, SERVICE, Store, eventually, postgres_url, superuser};

pub struct Rig {
    pub store: Arc<Store>,
    pub config: AuditConfig,
    pub readiness: Readiness,
    pub url: String,
    /// What the servers work as.
    pub role: &'static str,
    directory: tempfile::TempDir,
}

/// One start of a server, with its database.
pub struct Server {
    pub audit: Audit,
    keeper: Keeper,
    lifecycle: Lifecycle,
}

impl Rig {
    pub async fn new(store: &Arc<Store>) -> Self {
        let url = postgres_url();
        let roles = Roles {
            service: Some(SERVICE.to_owned()),
            maintenance: Some(MAINTENANCE.to_owned()),
        };
        prepare(&store.postgres_config(&url), &roles).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: store.clone(),
            config: AuditConfig {
                enabled: true,
                file: directory.path().join("audit.jsonl"),
                key: KeyFile::Own(directory.path().join("audit.key")),
                on_loss: OnLoss::Continue,
                retention: Duration::from_secs(400 * 86_400),
                max_event_bytes: 20_000,
                max_file_bytes: 10_000_000,
                max_files: 5,
            },
            readiness: Readiness::default(),
            url,
            role: SERVICE,
            directory,
        }
    }

    pub fn database(&self) -> PostgresAudit {
        let config = self.store.postgres_config_as(&self.url, self.role);
        PostgresAudit::new(&config.url, &config.schema).unwrap()
    }

    pub fn audit(&self) -> Audit {
        Audit::open(&self.config, self.store.clock.clone(), self.readiness.clone()).unwrap()
    }

    /// Its chain is anchored.
    pub async fn server(&self) -> Server {
        let before = self.anchored();
        let audit = self.audit();
        let lifecycle = Lifecycle::new(Duration::ZERO);
        let retention = chrono::Duration::from_std(self.config.retention).unwrap();
        let keeper = Keeper::sending(
            &audit,
            self.database(),
            retention,
            self.readiness.clone(),
            &lifecycle,
        );
        eventually("the chain is anchored", async || {
            (self.anchored() > before).then_some(())
        })
        .await;
        Server {
            audit,
            keeper,
            lifecycle,
        }
    }

    /// The database first, then the files.
    pub async fn verify(&self) -> Vec<Verified> {
        self.verify_as(ROLE).await.unwrap()
    }

    pub async fn verify_as(&self, role: &str) -> anyhow::Result<Vec<Verified>> {
        let args = VerifyArgs {
            file: None,
            key_file: Vec::new(),
            database_url: None,
            json: false,
        };
        let url = self.store.postgres_config_as(&postgres_url(), role).url;
        let places = AuditPlaces {
            file: self.config.file.clone(),
            key: self.config.key.clone(),
            sqlite: None,
            postgres: Some(url),
            schema: self.store.schema().to_owned(),
        };
        verify(&args, places).await
    }

    pub async fn assert_verified(&self) {
        for store in self.verify().await {
            assert_eq!(store.findings, [], "{}", store.store);
        }
    }

    /// As a superuser, whom no trigger stops.
    pub async fn force(&self, sql: &str) -> u64 {
        let mut connection = superuser().await;
        let prepare = format!(
            "SET search_path = {}; SET session_replication_role = replica",
            self.store.schema()
        );
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut connection)
            .await
            .unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
            .rows_affected()
    }

    pub async fn count(&self, what: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {}.{what}", self.store.schema());
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut superuser().await)
            .await
            .unwrap()
    }

    pub async fn eventually_stored(&self, count: i64) {
        let what = "audit_events WHERE phase IN ('opened', 'closed')";
        eventually("the lines are in Postgres", async || {
            (self.count(what).await >= count).then_some(())
        })
        .await;
    }

    /// How often the files say that a chain is.
    fn anchored(&self) -> usize {
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        let texts = self.files().into_iter().map(read);
        texts
            .map(|text| text.matches("\"phase\":\"anchored\"").count())
            .sum()
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.directory.path()).unwrap();
        let paths = all.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("audit.jsonl")
            })
            .collect()
    }
}

impl Server {
    pub async fn stop(self) {
        assert!(self.audit.flush_and_close().await);
        assert!(self.keeper.finish().await, "the database has the last lines");
        self.lifecycle.begin_shutdown();
        assert!(self.lifecycle.finish().await);
    }
}

pub fn caller(tenant: &str) -> Caller {
    Caller {
        principal: Arc::new(Principal {
            tenant: tenant.parse().unwrap(),
            subject: format!("ann@{tenant}"),
            client: "test".to_owned(),
        }),
        rights: Rights::all(),
        request_id: "req-1".to_owned(),
        cancel: CancellationToken::new(),
    }
}

pub async fn begin(audit: &Audit, tenant: &str, target: &str) -> Result<Entry, Unaudited> {
    let action = Action {
        name: "dynamic.exec",
        target: Some(target),
        revision: Some(3),
        details: Map::new(),
    };
    audit.begin(&caller(tenant), action).await
}

pub async fn act(audit: &Audit, tenant: &str, target: &str) {
    let entry = begin(audit, tenant, target).await.unwrap();
    entry.close(Verdict::Ran {
        outcome: Outcome::Ok,
        duration: Duration::from_micros(1_234),
    });
}

pub async fn acts(audit: &Audit, count: usize) {
    for number in 0..count {
        let tenant = if number % 2 == 0 { "acme" } else { "rival" };
        act(audit, tenant, "weather").await;
    }
}
