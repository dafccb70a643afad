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
pub use self::tools::{TenantTools, Tool, ToolSet, Visibility};
use super::{CHANGES_KEPT, Registry, RegistryError};
use crate::tenant::TenantDefaults;

/// What all snapshots together may hold, roughly. The tenants that were not asked for the longest go first.
const MAX_KIB: u64 = 256 * 1024;
/// Even a tenant without tools costs its entry: this bounds the tenants at about 65,000.
const KIB_PER_TENANT: u32 = 4;

pub struct ToolCache {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<dyn Registry>,
    defaults: TenantDefaults,
    tenants: Cache<TenantId, Arc<Slot>>,
    /// What every tenant sees, and so never forgotten.
    shared: Arc<Slot>,
    listing_changed: broadcast::Sender<TenantId>,
    /// Why the snapshots may be out of date.
    stale: latest::Sender<Option<String>>,
}

impl ToolCache {
    /// Follows the registry's changes until the lifecycle ends. A tenant for which nothing is set has the `defaults`.
    pub fn new(registry: Arc<dyn Registry>, defaults: TenantDefaults, lifecycle: &Lifecycle) -> Self {
        let tenants = Cache::builder()
            .max_capacity(MAX_KIB)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, slot: &Arc<Slot>| slot.kib().saturating_add(KIB_PER_TENANT))
            .build();
        let changes = registry.changes();
        let inner = Arc::new(Inner {
            registry,
            defaults,
            tenants,
            shared: Arc::default(),
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
    pub async fn tools(&self, tenant: &TenantId) -> Result<TenantTools, RegistryError> {
        let own = self.inner.current(tenant).await?;
        let shared = match self.inner.shared.current() {
            Some(shared) => shared,
            None => self.inner.current(&TenantId::shared()).await?,
        };
        Ok(TenantTools::new(own, shared))
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

    /// The tools after another look at the store, for a caller who names one that is not known: another replica may have
    /// made it a moment ago. Looks come with a pause between them, and who asks meanwhile shares the next one. Nothing where
    /// the store does not answer.
    pub async fn look_again(&self, tenant: &TenantId) -> Option<TenantTools> {
        for owner in [tenant, &TenantId::shared()] {
            let slot = self.inner.slot(owner);
            let ticket = slot.new_ticket();
            slot.rest_before_a_look().await;
            self.inner.reload(owner, &slot, ticket).await.ok()?;
        }
        self.tools(tenant).await.ok()
    }

    /// What holds for a tenant for which nothing is set.
    pub fn defaults(&self) -> &TenantDefaults {
        &self.inner.defaults
    }

    /// Tenants whose listed tools changed, after [`Self::tools`] gives the new ones; [`TenantId::shared`] stands for all.
    /// A receiver that lagged must take every tenant's for changed.
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
        if tenant.is_shared() {
            return self.shared.clone();
        }
        self.tenants.get_with_by_ref(tenant, || Arc::new(Slot::default()))
    }

    /// At once when it is known.
    async fn current(&self, tenant: &TenantId) -> Result<Arc<ToolSet>, RegistryError> {
        let slot = self.slot(tenant);
        match slot.current() {
            Some(tools) => Ok(tools),
            None => self.reload(tenant, &slot, slot.first_ticket()).await,
        }
    }

    /// The slot of a tenant that was asked for and not forgotten since.
    fn known(&self, tenant: &TenantId) -> Option<Arc<Slot>> {
        if tenant.is_shared() {
            return Some(self.shared.clone());
        }
        self.tenants.get(tenant)
    }

    async fn reload(
        &self,
        tenant: &TenantId,
        slot: &Arc<Slot>,
        ticket: u64,
    ) -> Result<Arc<ToolSet>, RegistryError> {
        let loaded = slot.load(tenant, self, ticket).await?;
        if loaded.is_news && !tenant.is_shared() {
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
