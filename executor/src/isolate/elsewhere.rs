//! On any other system than Linux: there is no such engine, and this says so.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_isolate::walls::{Finding, Tier};
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Dependency, Job, Rejection};
use dynamic_mcp_shared::lifecycle::Lifecycle;

use super::config::IsolateConfig;
use crate::engine::{Engine, EngineStatus, PreparedJob, ResolveError};

#[derive(Debug, thiserror::Error)]
#[error("the isolate engine needs Linux; use Docker (MCP_EXECUTION_ENGINE=docker)")]
pub struct StartError;

/// There is none.
pub enum IsolateEngine {}

impl IsolateEngine {
    /// # Errors
    /// Always.
    pub async fn start(_config: IsolateConfig, _lifecycle: &Lifecycle) -> Result<Arc<Self>, StartError> {
        Err(StartError)
    }

    pub fn tier(&self) -> Option<Tier> {
        match *self {}
    }

    pub fn walls(&self) -> Vec<Finding> {
        match *self {}
    }
}

#[async_trait]
impl Engine for IsolateEngine {
    async fn prepare(&self, _job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        match *self {}
    }

    async fn resolve_dependencies(
        &self,
        _tenant: &TenantId,
        _image: &str,
        _dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        match *self {}
    }

    fn status(&self) -> EngineStatus {
        match *self {}
    }

    async fn shutdown(&self) {
        match *self {}
    }
}
