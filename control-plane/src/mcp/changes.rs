//! Tells that the tools a tenant sees have changed: to a listener of its own in the newest era, and to the whole
//! connection before it.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use rmcp::RoleServer;
use rmcp::service::Peer;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::registry::cache::ToolCache;

/// Changes that come faster than this are told as one.
const COALESCE: Duration = Duration::from_millis(50);

/// The changes of one tenant. What happens between two calls of [`Self::next`] is not lost.
pub(super) struct ToolChanges {
    receiver: Receiver<TenantId>,
    tenant: TenantId,
}

impl ToolChanges {
    /// `receiver`: from [`ToolCache::subscribe`], before the client was told that it will hear of changes.
    pub(super) fn new(receiver: Receiver<TenantId>, tenant: TenantId) -> Self {
        Self { receiver, tenant }
    }

    /// Makes sure that there is something to compare a change with: the cache knows no change of what it never loaded.
    pub(super) async fn prime(&self, cache: &ToolCache) {
        if let Err(error) = cache.tools(&self.tenant).await {
            tracing::warn!(%error, "changes can't be told before the tools were loaded once");
        }
    }

    /// Waits for a change and takes all that have come with it; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<()> {
        loop {
            match self.receiver.recv().await {
                Ok(tenant) if tenant != self.tenant && !tenant.is_shared() => {}
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        while !matches!(
            self.receiver.try_recv(),
            Err(TryRecvError::Empty | TryRecvError::Closed)
        ) {}
        Some(())
    }
}

/// Sends `notifications/tools/list_changed` to a legacy connection for as long as it lasts.
pub(super) fn tell_connection(
    mut changes: ToolChanges,
    cache: Arc<ToolCache>,
    peer: Peer<RoleServer>,
    lifecycle: &Lifecycle,
) {
    let stop = lifecycle.soft().clone();
    let telling = async move {
        changes.prime(&cache).await;
        loop {
            tokio::select! {
                () = closed(&peer) => return,
                change = changes.next() => if change.is_none() { return },
            }
            if peer.notify_tool_list_changed().await.is_err() {
                return;
            }
            tokio::time::sleep(COALESCE).await;
        }
    };
    lifecycle.spawn(async move { stop.run_until_cancelled(telling).await });
}

/// The peer has no signal for it, so it is asked now and then.
async fn closed(peer: &Peer<RoleServer>) {
    while !peer.is_transport_closed() {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a tenant")
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_own_tenants_changes_are_told_and_many_as_one() {
        let (sender, receiver) = broadcast::channel(4);
        let mut changes = ToolChanges::new(receiver, tenant("a"));
        sender.send(tenant("b")).expect("a receiver");
        let nothing = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
        assert!(nothing.is_err());
        for _ in 0..3 {
            sender.send(tenant("a")).expect("a receiver");
        }
        assert_eq!(changes.next().await, Some(()));
        let nothing = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
        assert!(nothing.is_err());
    }

    #[tokio::test]
    async fn a_change_of_what_is_shared_is_every_tenants() {
        let (sender, receiver) = broadcast::channel(4);
        let mut changes = ToolChanges::new(receiver, tenant("a"));
        sender.send(TenantId::shared()).expect("a receiver");
        assert_eq!(changes.next().await, Some(()));
    }

    #[tokio::test]
    async fn a_receiver_that_lagged_tells_a_change() {
        let (sender, receiver) = broadcast::channel(2);
        let mut changes = ToolChanges::new(receiver, tenant("a"));
        for _ in 0..5 {
            sender.send(tenant("b")).expect("a receiver");
        }
        assert_eq!(changes.next().await, Some(()));
        drop(sender);
        assert_eq!(changes.next().await, None);
    }
}
