//! The tools of each tenant as this replica serves them: read on every call without waiting for the store, and kept
//! up to date by the registry's changes. While the store is lost the last known tools are served.

mod slot;
mod tools;
mod watch;

use std::sync::Arc;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{broadcast, watch as latest};

use self::slot::Slot;
pub use self::tools::{Tool, ToolSet};
use super::{CHANGES_KEPT, Registry, RegistryError};

/// What all snapshots together may hold, roughly. The tenants that were not asked for the longest go first.
const MAX_KIB: u64 = 256 * 1024;
/// Even a tenant without tools costs its entry: this bounds the tenants at about 65,000.
const KIB_PER_TENANT: u32 = 4;

pub struct ToolCache {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<dyn Registry>,
    tenants: Cache<TenantId, Arc<Slot>>,
    listing_changed: broadcast::Sender<TenantId>,
    /// Why the snapshots may be out of date.
    stale: latest::Sender<Option<String>>,
}

impl ToolCache {
    /// Follows the registry's changes until the lifecycle ends.
    pub fn new(registry: Arc<dyn Registry>, lifecycle: &Lifecycle) -> Self {
        let tenants = Cache::builder()
            .max_capacity(MAX_KIB)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, slot: &Arc<Slot>| slot.kib().saturating_add(KIB_PER_TENANT))
            .build();
        let changes = registry.changes();
        let inner = Arc::new(Inner {
            registry,
            tenants,
            listing_changed: broadcast::channel(CHANGES_KEPT).0,
            stale: latest::channel(None).0,
        });
        let stop = lifecycle.soft().clone();
        let watcher = watch::follow(inner.clone(), changes);
        lifecycle.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = watcher => {}
            }
        });
        Self { inner }
    }

    /// The tools of a tenant: at once when they are known, loaded otherwise.
    ///
    /// # Errors
    /// When they are not known and the store does not answer.
    pub async fn tools(&self, tenant: &TenantId) -> Result<Arc<ToolSet>, RegistryError> {
        let slot = self.inner.slot(tenant);
        match slot.current() {
            Some(tools) => Ok(tools),
            None => self.inner.reload(tenant, &slot, slot.first_ticket()).await,
        }
    }

    /// Loads the tools anew, so that a write that ended before this call is visible after it. Calls at the same time
    /// share one load.
    ///
    /// # Errors
    /// When the store does not answer; what was known is served on, and the load is tried again until it succeeds.
    pub async fn refresh(&self, tenant: &TenantId) -> Result<Arc<ToolSet>, RegistryError> {
        let slot = self.inner.slot(tenant);
        self.inner.reload(tenant, &slot, slot.new_ticket()).await
    }

    /// Tenants whose listed tools changed, after [`Self::tools`] gives the new ones. A receiver that lagged must take
    /// every tenant's for changed.
    pub fn subscribe(&self) -> broadcast::Receiver<TenantId> {
        self.inner.listing_changed.subscribe()
    }

    /// Why the tools may be out of date; `None` while they follow the store.
    pub fn stale(&self) -> latest::Receiver<Option<String>> {
        self.inner.stale.subscribe()
    }
}

impl Inner {
    fn slot(&self, tenant: &TenantId) -> Arc<Slot> {
        self.tenants.get_with_by_ref(tenant, || Arc::new(Slot::default()))
    }

    async fn reload(
        &self,
        tenant: &TenantId,
        slot: &Arc<Slot>,
        ticket: u64,
    ) -> Result<Arc<ToolSet>, RegistryError> {
        let loaded = slot.load(tenant, &*self.registry, ticket).await?;
        if loaded.is_news {
            self.weigh_again(tenant, slot);
        }
        if loaded.listing_changed {
            // No receiver is no fault.
            let _ = self.listing_changed.send(tenant.clone());
        }
        Ok(loaded.tools)
    }

    /// The cache weighs a value when it is put in, and a slot's weight is known only after its load. A slot that was
    /// evicted meanwhile must not push out the one that came after it.
    fn weigh_again(&self, tenant: &TenantId, slot: &Arc<Slot>) {
        self.tenants.entry_by_ref(tenant).and_compute_with(|entry| {
            let is_ours = entry.is_some_and(|entry| Arc::ptr_eq(entry.value(), slot));
            if is_ours { Op::Put(slot.clone()) } else { Op::Nop }
        });
    }
}
