//! What was told of changes, so that each write is told once although up to three ways bring it: the writer itself,
//! the listener and the poll.

use std::collections::HashMap;

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::statements::Versions;
use crate::registry::{CHANGES_KEPT, Change};

pub(super) struct Changes {
    sender: broadcast::Sender<Change>,
    /// The last version told, by tenant. As many entries as `registry_versions` has rows.
    told: Mutex<HashMap<TenantId, i64>>,
}

impl Changes {
    pub(super) fn new(now: Versions) -> Self {
        Self {
            sender: broadcast::channel(CHANGES_KEPT).0,
            told: Mutex::new(now.by_tenant),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    pub(super) fn tell(&self, tenant: &TenantId, version: i64) {
        let mut told = self.told.lock();
        if told.get(tenant).is_some_and(|told| *told >= version) {
            return;
        }
        told.insert(tenant.clone(), version);
        // Sent under the lock, so that whoever finds a version told also finds it sent. No receiver is no fault.
        let _ = self.sender.send(Change::Tenant(tenant.clone()));
    }

    pub(super) fn tell_unknown(&self) {
        let _ = self.sender.send(Change::Unknown);
    }

    /// The tenants whose version is another than the one told.
    pub(super) fn untold(&self, now: &Versions) -> Vec<TenantId> {
        let told = self.told.lock();
        let differs = |(tenant, version): &(&TenantId, &i64)| told.get(*tenant) != Some(*version);
        now.by_tenant
            .iter()
            .filter(differs)
            .map(|(tenant, _)| tenant.clone())
            .collect()
    }

    /// Tells what differs still, a version that went back (a restored backup) included.
    pub(super) fn tell_untold(&self, tenants: &[TenantId], now: &Versions) -> bool {
        let mut told = self.told.lock();
        let mut any = false;
        for tenant in tenants {
            let Some(version) = now.by_tenant.get(tenant) else {
                continue;
            };
            if told.get(tenant) != Some(version) {
                told.insert(tenant.clone(), *version);
                let _ = self.sender.send(Change::Tenant(tenant.clone()));
                any = true;
            }
        }
        any
    }
}
