//! One tenant's snapshot and its loads. A load serves everybody who asked before it began, and nobody who asked
//! after: those may have written something that it did not see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Inner, ToolSet, Visibility};
use crate::registry::RegistryError;
use crate::registry::row::unavailable;
use crate::tenant::Tenant;

pub(super) struct Slot {
    snapshot: RwLock<Option<Arc<ToolSet>>>,
    /// The last ticket given out.
    wanted: AtomicU64,
    /// Held while loading.
    last: Mutex<LastLoad>,
    looked_again: parking_lot::Mutex<Option<Instant>>,
}

/// How the last load ended, and up to which ticket it serves.
struct LastLoad {
    serves: u64,
    failed: Option<RegistryError>,
}

pub(super) struct Loaded {
    pub(super) tools: Arc<ToolSet>,
    /// This call did the load itself.
    pub(super) is_news: bool,
    pub(super) listing_changed: bool,
}

const FIRST_TICKET: u64 = 1;
/// A load for each unknown name would be a way to keep the store busy.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(250);

impl Default for Slot {
    fn default() -> Self {
        Self {
            snapshot: RwLock::new(None),
            wanted: AtomicU64::new(FIRST_TICKET),
            last: Mutex::new(LastLoad {
                serves: 0,
                failed: None,
            }),
            looked_again: parking_lot::Mutex::default(),
        }
    }
}

impl Slot {
    pub(super) fn current(&self) -> Option<Arc<ToolSet>> {
        self.snapshot.read().clone()
    }

    pub(super) fn new_ticket(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// For somebody whom any load serves, one that already runs included; after a failed one, a new one.
    pub(super) fn first_ticket(&self) -> u64 {
        match self.last.try_lock() {
            Ok(last) if last.failed.is_some() => self.new_ticket(),
            _ => self.wanted.load(Ordering::SeqCst),
        }
    }

    /// Until the store may be looked at again for a name that is not known.
    pub(super) async fn rest_before_a_look(&self) {
        let due = (*self.looked_again.lock()).map(|looked| looked + LOOK_AGAIN_EVERY);
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        *self.looked_again.lock() = Some(Instant::now());
    }

    pub(super) fn kib(&self) -> u32 {
        self.snapshot.read().as_ref().map_or(0, |tools| tools.kib())
    }

    pub(super) async fn load(
        &self,
        tenant: &TenantId,
        cache: &Inner,
        ticket: u64,
    ) -> Result<Loaded, RegistryError> {
        let mut last = self.last.lock().await;
        if last.serves >= ticket {
            return self.served(&last);
        }
        let serves = self.wanted.load(Ordering::SeqCst);
        let loaded = self.load_now(tenant, cache).await;
        *last = LastLoad {
            serves,
            failed: loaded.as_ref().err().cloned(),
        };
        loaded
    }

    fn served(&self, last: &LastLoad) -> Result<Loaded, RegistryError> {
        if let Some(error) = &last.failed {
            return Err(error.clone());
        }
        let tools = self
            .current()
            .ok_or_else(|| unavailable("read the snapshot", &"it was never loaded"))?;
        Ok(Loaded {
            tools,
            is_news: false,
            listing_changed: false,
        })
    }

    async fn load_now(&self, tenant: &TenantId, cache: &Inner) -> Result<Loaded, RegistryError> {
        let stored = cache.registry.load(tenant).await?;
        let before = self.current();
        let known = before.clone();
        let visibility = Visibility::of(tenant);
        // What is the same stays the same piece, so that what was judged by it need not be judged again.
        let tenant = match before.as_ref().map(|before| before.shared_tenant()) {
            Some(tenant) if tenant.record == stored.tenant => tenant.clone(),
            _ => Arc::new(Tenant::new(stored.tenant, &cache.defaults)),
        };
        // Compiling the schemas of many tools takes long enough to hold up other calls.
        let compile = move || ToolSet::new(tenant, stored.tools, visibility, known.as_deref());
        let tools = tokio::task::spawn_blocking(compile)
            .await
            .map_err(|error| unavailable("compile the tools", &error))?;
        let tools = Arc::new(tools);
        let listing_changed = before.is_some_and(|before| !before.same_listing(&tools));
        *self.snapshot.write() = Some(tools.clone());
        Ok(Loaded {
            tools,
            is_news: true,
            listing_changed,
        })
    }
}
