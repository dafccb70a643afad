//! What is known of a request before rmcp gets it, for the places where rmcp calls back without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::Tool as McpTool;

use crate::mcp::dynamic;
use crate::principal::Principal;
use crate::registry::cache::TenantTools;

tokio::task_local! {
    static IN_FRONT: Arc<InFront>;
}

pub(in crate::mcp) struct InFront {
    principal: Arc<Principal>,
    /// Of the caller's tenant, when the request calls one.
    tools: Option<TenantTools>,
    full: AtomicBool,
}

impl InFront {
    pub(super) fn new(principal: Arc<Principal>, tools: Option<TenantTools>) -> Self {
        Self {
            principal,
            tools,
            full: AtomicBool::new(false),
        }
    }

    pub(super) async fn scope<F: Future>(self, handling: F) -> (F::Output, Arc<Self>) {
        let in_front = Arc::new(self);
        let output = IN_FRONT.scope(in_front.clone(), handling).await;
        (output, in_front)
    }

    /// Whether a session was refused because there are too many.
    pub(super) fn found_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// Who sends the request that is being handled, if one is.
pub(in crate::mcp) fn principal() -> Option<Arc<Principal>> {
    IN_FRONT.try_with(|in_front| in_front.principal.clone()).ok()
}

pub(in crate::mcp) fn note_full() {
    // Outside of a request nobody asks.
    let _outside = IN_FRONT.try_with(|in_front| in_front.full.store(true, Ordering::Relaxed));
}

/// The tool that the request calls, with its schema: a tool of the registry, since no built-in one wants headers.
pub(in crate::mcp) fn called_tool(name: &str) -> Option<McpTool> {
    let tools = IN_FRONT
        .try_with(|in_front| in_front.tools.clone())
        .ok()
        .flatten()?;
    dynamic::find(&tools, name).map(|tool| dynamic::describe(&tool))
}
