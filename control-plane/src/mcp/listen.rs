//! `subscriptions/listen` of the 2026-07-28 era: one open request that tells of changes until its client closes it or
//! the server shuts down.

use parking_lot::Mutex;
use rmcp::ErrorData;
use rmcp::model::SubscriptionFilter;
use rmcp::service::SubscriptionContext;
use tokio::sync::broadcast::Receiver;

use dynamic_mcp_shared::ids::TenantId;

use super::changes::ToolChanges;
use super::request;
use super::server::DynamicMcp;
use crate::principal::Right;

/// Listeners of one connection whose acknowledgement is on its way.
const MAX_WAITING: usize = 64;

/// What there is to listen to: the list of tools is the only thing here that changes.
pub(super) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let mut accepted = SubscriptionFilter::new();
    accepted.tools_list_changed = requested.tools_list_changed.filter(|wanted| *wanted);
    accepted
}

/// Subscriptions made when a listener's filter was accepted. The acknowledgement leaves before the listener itself
/// begins, and a change between the two must not be missed. Any will do for any listener: they differ only in age.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<Receiver<TenantId>>>);

impl Waiting {
    pub(super) fn add(&self, receiver: Receiver<TenantId>) {
        let mut waiting = self.0.lock();
        if waiting.len() < MAX_WAITING {
            waiting.push(receiver);
        }
    }

    fn oldest(&self) -> Option<Receiver<TenantId>> {
        let mut waiting = self.0.lock();
        if waiting.is_empty() {
            None
        } else {
            Some(waiting.remove(0))
        }
    }
}

/// Runs until the client closes the request, which is an error to nobody, or the server shuts down, which ends it with
/// a result.
pub(super) async fn listen(server: &DynamicMcp, subscription: SubscriptionContext) -> Result<(), ErrorData> {
    let access = server.access(subscription.request_context())?;
    request::require(access, Right::Call)?;
    let tenant = access.principal.tenant.clone();
    let cache = &server.deps().cache;
    let receiver = server
        .waiting_listeners()
        .oldest()
        .unwrap_or_else(|| cache.subscribe());
    let mut changes = ToolChanges::new(receiver, tenant);
    let tells_of_tools = subscription.accepted().tools_list_changed == Some(true);
    if tells_of_tools {
        changes.prime(cache).await;
    }
    loop {
        tokio::select! {
            () = subscription.cancelled() => return Ok(()),
            () = server.lifecycle().soft().cancelled() => return Ok(()),
            change = changes.next(), if tells_of_tools => if change.is_none() { return Ok(()) },
        }
        tokio::select! {
            () = subscription.cancelled() => return Ok(()),
            sent = subscription.sink().notify_tool_list_changed() => if sent.is_err() { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_and_exists_is_accepted() {
        let asked = SubscriptionFilter::builder()
            .tools_list_changed()
            .prompts_list_changed()
            .resource_subscription("dynamic://metrics/guard")
            .build();
        assert_eq!(
            accepted(&asked),
            SubscriptionFilter::builder().tools_list_changed().build()
        );
        let other = SubscriptionFilter::builder().prompts_list_changed().build();
        assert_eq!(accepted(&other), SubscriptionFilter::new());
    }
}
