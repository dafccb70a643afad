//! Opens the registry that the settings name.

use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::lifecycle::Lifecycle;

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
