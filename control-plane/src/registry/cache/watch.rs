//! Follows the registry's changes. What could not be reloaded is tried again until it could.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use futures::StreamExt;
use tokio::sync::broadcast::{self, error::RecvError};

use super::Inner;
use crate::registry::{Change, RegistryError};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_millis(500);
const LOADS_AT_ONCE: usize = 8;

/// What is to be reloaded.
#[derive(Default)]
struct Pending {
    all: bool,
    tenants: HashSet<TenantId>,
}

pub(super) async fn follow(inner: Arc<Inner>, mut changes: broadcast::Receiver<Change>) {
    let mut pending = Pending::default();
    let mut retry_after = FIRST_RETRY;
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => pending.note(&inner, change),
                Err(RecvError::Lagged(_)) => pending.all = true,
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(retry_after), if !pending.is_empty() => {}
        }
        pending.note_waiting(&inner, &mut changes);
        match inner.catch_up(&mut pending).await {
            Ok(()) => {
                retry_after = FIRST_RETRY;
                inner.set_stale(None);
            }
            Err(error) => {
                retry_after = (retry_after * 2).min(LAST_RETRY);
                inner.set_stale(Some(error));
            }
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.all && self.tenants.is_empty()
    }

    fn note(&mut self, inner: &Inner, change: Change) {
        match change {
            Change::Unknown => self.all = true,
            Change::Tenant(tenant) if tenant.is_shared() || inner.tenants.contains_key(&tenant) => {
                self.tenants.insert(tenant);
            }
            // Its snapshot was dropped, but a client of it may still wait to hear of changes.
            Change::Tenant(tenant) => {
                let _ = inner.listing_changed.send(tenant);
            }
        }
    }

    /// Many changes that came together need one reload.
    fn note_waiting(&mut self, inner: &Inner, changes: &mut broadcast::Receiver<Change>) {
        use broadcast::error::TryRecvError;
        loop {
            match changes.try_recv() {
                Ok(change) => self.note(inner, change),
                Err(TryRecvError::Lagged(_)) => self.all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl Inner {
    /// Reloads what is pending and takes from it what succeeded.
    async fn catch_up(&self, pending: &mut Pending) -> Result<(), RegistryError> {
        if pending.all {
            // Asked first, so that a lost store is noticed even when no tenant is known yet, and once instead of for
            // each tenant.
            self.registry.check().await?;
            let known = self.tenants.iter().map(|(tenant, _)| (*tenant).clone());
            pending.tenants.extend(known);
            pending.tenants.insert(TenantId::shared());
            pending.all = false;
        }
        let tenants: Vec<TenantId> = pending.tenants.iter().cloned().collect();
        let mut loads = futures::stream::iter(tenants)
            .map(|tenant| async move {
                let loaded = self.reload_if_known(&tenant).await;
                (tenant, loaded)
            })
            .buffer_unordered(LOADS_AT_ONCE);
        let mut failed = None;
        while let Some((tenant, loaded)) = loads.next().await {
            match loaded {
                Ok(()) => {
                    pending.tenants.remove(&tenant);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn reload_if_known(&self, tenant: &TenantId) -> Result<(), RegistryError> {
        match self.known(tenant) {
            Some(slot) => self.reload(tenant, &slot, slot.new_ticket()).await.map(drop),
            None => Ok(()),
        }
    }

    fn set_stale(&self, error: Option<RegistryError>) {
        let why = error.map(|error| match error {
            RegistryError::Unavailable { detail } => detail,
            other => other.to_string(),
        });
        self.stale.send_if_modified(|stale| {
            match (&why, &stale) {
                (Some(why), None) => {
                    tracing::warn!(
                        error = why,
                        "the tool registry is lost; the last known tools are served"
                    );
                }
                (None, Some(_)) => tracing::info!("the tool registry answers again"),
                _ => {}
            }
            let changed = *stale != why;
            *stale = why;
            changed
        });
    }
}
