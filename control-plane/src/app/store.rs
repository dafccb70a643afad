//! Opens the registry that the settings name.

use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;

use crate::audit::{AnchorFile, Audit, AuditConfig, Keeper, PostgresAudit};
use crate::config::Backend;
use crate::registry::{PostgresRegistry, Registry, SqliteRegistry};

pub(super) async fn open(
    backend: &Backend,
    clock: Arc<dyn Clock>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Arc<dyn Registry>> {
    Ok(match backend {
        Backend::File { store } => {
            let registry = SqliteRegistry::open(store, clock, lifecycle.clone());
            Arc::new(
                registry
                    .await
                    .with_context(|| format!("MCP_DYNAMIC_STORE: {}", store.display()))?,
            )
        }
        Backend::Postgres(config) => {
            let registry = PostgresRegistry::connect(config.clone(), clock, lifecycle.clone());
            Arc::new(registry.await.context("MCP_DYNAMIC_PG_URL")?)
        }
    })
}

/// What keeps the audit's other store up with its files, and that store where it can be searched.
pub(super) fn keep_audit(
    audit: &Audit,
    config: &AuditConfig,
    backend: &Backend,
    readiness: &Readiness,
    lifecycle: &Lifecycle,
) -> anyhow::Result<(Keeper, Option<PostgresAudit>)> {
    match backend {
        Backend::File { store } => {
            let anchors = AnchorFile::beside(store);
            let keeper = Keeper::anchoring(audit, anchors, readiness.clone(), lifecycle);
            Ok((keeper, None))
        }
        Backend::Postgres(postgres) => {
            let store = PostgresAudit::new(&postgres.url, &postgres.schema)?;
            let retention = chrono::Duration::from_std(config.retention)?;
            let keeper = Keeper::sending(audit, store.clone(), retention, readiness.clone(), lifecycle);
            Ok((keeper, Some(store)))
        }
    }
}
