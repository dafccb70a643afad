//! The leases of this replica: until when it may count on each, and whose call must end when it may not.

use std::collections::{HashMap, HashSet};

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::slots::Slot;

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<String, Lease>>);

#[derive(Debug)]
struct Lease {
    tenant: TenantId,
    /// When its call is ended if it was not renewed: some time before Redis gives it to another.
    until: Instant,
    revoked: CancellationToken,
    /// This replica let it in, or goes on with it, without Redis, which is to count it in when it is back.
    is_local: bool,
    /// Its place in the guard of a replica that is on its own.
    place: Option<Slot>,
}

impl Held {
    /// Answers what is cancelled when it is lost.
    pub(super) fn add(&self, ticket: &str, tenant: &TenantId, until: Instant) -> CancellationToken {
        self.insert(ticket, tenant, until, false)
    }

    /// One that Redis is to hear of when it is back.
    pub(super) fn add_local(&self, ticket: &str, tenant: &TenantId) -> CancellationToken {
        self.insert(ticket, tenant, Instant::now(), true)
    }

    fn insert(&self, ticket: &str, tenant: &TenantId, until: Instant, is_local: bool) -> CancellationToken {
        let revoked = CancellationToken::new();
        let lease = Lease {
            tenant: tenant.clone(),
            until,
            revoked: revoked.clone(),
            is_local,
            place: None,
        };
        self.0.lock().insert(ticket.to_owned(), lease);
        revoked
    }

    pub(super) fn remove(&self, ticket: &str) {
        let removed = self.0.lock().remove(ticket);
        // Its place may go to another call, which is not for under this lock.
        drop(removed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(super) fn running(&self, tenant: &TenantId) -> u32 {
        let held = self.0.lock();
        let of_tenant = held.values().filter(|lease| lease.tenant == *tenant);
        u32::try_from(of_tenant.count()).unwrap_or(u32::MAX)
    }

    /// All tickets, each with whether it is to be counted in though Redis does not know it.
    pub(super) fn tickets(&self) -> Vec<(String, bool)> {
        let held = self.0.lock();
        held.iter()
            .map(|(ticket, lease)| (ticket.clone(), lease.is_local))
            .collect()
    }

    /// Notes that these hold until then. Answers those that were given back meanwhile, of which Redis may have just been told
    /// anew.
    pub(super) fn renewed(&self, tickets: &[(String, bool)], gone: &[String], until: Instant) -> Vec<String> {
        let gone: HashSet<&String> = gone.iter().collect();
        let mut held = self.0.lock();
        let mut given_back = Vec::new();
        for (ticket, _) in tickets.iter().filter(|(ticket, _)| !gone.contains(ticket)) {
            match held.get_mut(ticket) {
                Some(lease) => (lease.until, lease.is_local) = (until, false),
                None => given_back.push(ticket.clone()),
            }
        }
        given_back
    }

    /// Ends the calls of leases that are another's. Answers how many.
    pub(super) fn revoke(&self, gone: &[String]) -> u64 {
        let held = self.0.lock();
        let leases = gone.iter().filter_map(|ticket| held.get(ticket));
        count_revoked(leases)
    }

    /// Ends the calls of leases that could not be renewed in time.
    pub(super) fn revoke_overdue(&self, now: Instant) -> u64 {
        let held = self.0.lock();
        count_revoked(
            held.values()
                .filter(|lease| !lease.is_local && lease.until <= now),
        )
    }

    pub(super) fn next_overdue(&self) -> Option<Instant> {
        let held = self.0.lock();
        let renewable = held
            .values()
            .filter(|lease| !lease.is_local && !lease.revoked.is_cancelled());
        renewable.map(|lease| lease.until).min()
    }

    /// From now on they are this replica's own affair, and each has a place in its own guard.
    pub(super) fn make_local(&self, mut place: impl FnMut(&TenantId) -> Slot) {
        for lease in self.0.lock().values_mut() {
            lease.is_local = true;
            lease.place.get_or_insert_with(|| place(&lease.tenant));
        }
    }

    pub(super) fn drop_places(&self) {
        let places: Vec<_> = self
            .0
            .lock()
            .values_mut()
            .filter_map(|lease| lease.place.take())
            .collect();
        drop(places);
    }
}

/// A ticket is "tenant turn replica.number".
pub(super) fn tenant_of(ticket: &str) -> Option<TenantId> {
    let (tenant, _) = ticket.split_once(' ')?;
    TenantId::from_store(tenant).ok()
}

fn count_revoked<'a>(leases: impl Iterator<Item = &'a Lease>) -> u64 {
    let mut revoked = 0;
    for lease in leases.filter(|lease| !lease.revoked.is_cancelled()) {
        lease.revoked.cancel();
        revoked += 1;
    }
    revoked
}
