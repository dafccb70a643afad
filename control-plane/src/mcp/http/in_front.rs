//! What is known of a request before rmcp gets it, for the places where rmcp calls back without it.

use std::sync::{Arc, OnceLock};

use rmcp::model::Tool as McpTool;

use crate::mcp::dynamic;
use crate::principal::Access;
use crate::registry::cache::TenantTools;

tokio::task_local! {
    static IN_FRONT: Arc<InFront>;
}

pub(in crate::mcp) struct InFront {
    access: Access,
    /// Of the caller's tenant, when the request calls one.
    tools: Option<TenantTools>,
    refused: OnceLock<Refused>,
}

/// Why a session did not do what the request wants, which rmcp would answer with a plain 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp) enum Refused {
    /// There are as many sessions as may be.
    Full,
    /// What replicas share can't be reached.
    Away,
    /// A message that goes to other replicas.
    TooLarge { max_bytes: usize },
}

impl InFront {
    pub(super) fn new(access: Access, tools: Option<TenantTools>) -> Self {
        Self {
            access,
            tools,
            refused: OnceLock::new(),
        }
    }

    pub(super) async fn scope<F: Future>(self, handling: F) -> (F::Output, Arc<Self>) {
        let in_front = Arc::new(self);
        let output = IN_FRONT.scope(in_front.clone(), handling).await;
        (output, in_front)
    }

    pub(in crate::mcp) fn access(&self) -> &Access {
        &self.access
    }

    pub(in crate::mcp) fn note(&self, refused: Refused) {
        // The first reason is the one that is answered.
        let _known_already = self.refused.set(refused);
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }
}

/// Of the request that is being handled, if one is.
pub(in crate::mcp) fn current() -> Option<Arc<InFront>> {
    IN_FRONT.try_with(Arc::clone).ok()
}

/// The tool that the request calls, with its schema: a tool of the registry, since no built-in one wants headers.
pub(in crate::mcp) fn called_tool(name: &str) -> Option<McpTool> {
    let in_front = current()?;
    dynamic::find(in_front.tools.as_ref()?, name).map(|tool| dynamic::describe(&tool))
}
