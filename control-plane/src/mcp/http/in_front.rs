//! What is known of a request before rmcp gets it, for the places where rmcp calls back without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    full: AtomicBool,
}

impl InFront {
    pub(super) fn new(access: Access, tools: Option<TenantTools>) -> Self {
        Self {
            access,
            tools,
            full: AtomicBool::new(false),
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

    pub(in crate::mcp) fn note_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Whether a session was refused because there are too many.
    pub(super) fn found_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
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
