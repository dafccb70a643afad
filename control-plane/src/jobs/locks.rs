//! Locks of dependencies that are not stored with a tool: those of ephemeral runs, and of imported tools. They are
//! kept for a while, so that the same run again, or twenty at once, resolves once.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::Dependency;
use moka::future::Cache;

use crate::dependency_lock::Lock;
use crate::scheduler::Scheduler;
use crate::scheduler::client::ResolveError;

const KEPT_FOR: Duration = Duration::from_secs(600);
const KEPT_BYTES: u64 = 32 * 1024 * 1024;

type Key = (TenantId, String, Vec<Dependency>);

pub(super) struct LockCache {
    scheduler: Arc<Scheduler>,
    locks: Cache<Key, Lock>,
}

impl LockCache {
    pub(super) fn new(scheduler: Arc<Scheduler>) -> Self {
        let locks = Cache::builder()
            .time_to_live(KEPT_FOR)
            .weigher(|_: &Key, lock: &Lock| u32::try_from(lock.bytes().len()).unwrap_or(u32::MAX))
            .max_capacity(KEPT_BYTES)
            .build();
        Self { scheduler, locks }
    }

    pub(super) async fn resolve(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Lock, ResolveError> {
        let key = (tenant.clone(), image.to_owned(), dependencies.to_vec());
        let resolve = async {
            let lock = self.scheduler.resolve_dependencies(tenant, image, dependencies);
            lock.await.map(Lock::new)
        };
        self.locks
            .try_get_with(key, resolve)
            .await
            .map_err(|error| error.as_ref().clone())
    }
}
