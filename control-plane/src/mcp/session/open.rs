//! The copies at this replica, and which of them gives way when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use rmcp::transport::streamable_http_server::session::SessionId;

use super::bus::Caps;
use super::{Session, SessionsError};

#[derive(Default)]
pub(super) struct Open(HashMap<SessionId, Arc<Session>>);

impl Open {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.0.get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.0.values().cloned().collect()
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        self.0.remove(id)
    }

    /// Sessions that begin at once are not more than there may be. Answers which one must go.
    pub(super) fn let_in(
        &mut self,
        session: &Arc<Session>,
        caps: Caps,
    ) -> Result<Option<SessionId>, SessionsError> {
        let evicted = self.to_evict(&session.owner.tenant, caps)?;
        if let Some(evicted) = &evicted
            && let Some(gone) = self.0.remove(evicted)
        {
            gone.ended.cancel();
        }
        self.0.insert(session.id.clone(), session.clone());
        Ok(evicted)
    }

    /// With no more copies than that, as far as some are idle: one in use is never worth less than another. Answers which
    /// one must go.
    pub(super) fn insert_bounded(&mut self, session: &Arc<Session>, max: usize) -> Option<SessionId> {
        let evicted = (self.0.len() >= max).then(|| self.longest_idle()).flatten();
        self.0.insert(session.id.clone(), session.clone());
        evicted
    }

    pub(super) fn idle_for(&self, ttl: Duration) -> Vec<SessionId> {
        let is_idle = |session: &Session| session.idle_for().is_some_and(|idle| idle >= ttl);
        let idle = self.0.iter().filter(|(_, session)| is_idle(session));
        idle.map(|(id, _)| id.clone()).collect()
    }

    fn longest_idle(&self) -> Option<SessionId> {
        let idle = self
            .0
            .iter()
            .filter_map(|(id, session)| Some((session.activity.idle_since()?, id)));
        idle.min_by_key(|(since, _)| *since).map(|(_, id)| id.clone())
    }

    /// The session that must go to let another one of that tenant in: of the idle ones, of the tenant with the most
    /// sessions, the one that has been so the longest. A tenant takes no place from one that has fewer than itself.
    fn to_evict(&self, tenant: &TenantId, caps: Caps) -> Result<Option<SessionId>, SessionsError> {
        let own = || {
            self.0
                .iter()
                .filter(|(_, session)| session.owner.tenant == *tenant)
        };
        if self.0.len() >= caps.of_tenant && own().count() >= caps.of_tenant {
            let idle = own().filter_map(|(id, session)| Some((session.activity.idle_since()?, id)));
            let longest = idle.min_by_key(|(since, _)| *since);
            return longest
                .map(|(_, id)| Some(id.clone()))
                .ok_or(SessionsError::Full(caps.of_tenant));
        }
        if self.0.len() < caps.in_all {
            return Ok(None);
        }
        let mut counts: HashMap<&TenantId, usize> = HashMap::new();
        for session in self.0.values() {
            *counts.entry(&session.owner.tenant).or_default() += 1;
        }
        let of = |tenant| counts.get(tenant).copied().unwrap_or(0);
        let candidates = self.0.iter().filter_map(|(id, session)| {
            let count = of(&session.owner.tenant);
            (count >= of(tenant)).then_some((Reverse(count), session.activity.idle_since()?, id))
        });
        let longest = candidates.min_by_key(|(count, since, _)| (*count, *since));
        longest
            .map(|(_, _, id)| Some(id.clone()))
            .ok_or(SessionsError::Full(caps.in_all))
    }
}
