//! Sandbox sessions: where they are looked up, and that what executors have gets there.

use std::sync::Arc;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::lifecycle::Lifecycle;

use crate::redis::Redis;
use crate::sandbox::{
    Announcements, Directory, MemoryDirectory, RedisDirectory, SandboxConfig, Sandboxes, Times,
};
use crate::scheduler::fleet::Fleet;

pub(super) fn start(
    config: &SandboxConfig,
    redis: Option<&Redis>,
    fleet: &Arc<Fleet>,
    clock: &Arc<dyn Clock>,
    lifecycle: &Lifecycle,
) -> Arc<Sandboxes> {
    let times = Times::for_sessions_of(config.max_life);
    let directory: Arc<dyn Directory> = match redis {
        Some(redis) => Arc::new(RedisDirectory::new(redis.clone(), times)),
        None => Arc::new(MemoryDirectory::new(times)),
    };
    let sandboxes = Arc::new(Sandboxes::new(
        directory,
        fleet.clone(),
        *config,
        clock.clone(),
        lifecycle.clone(),
    ));
    lifecycle.spawn(Announcements::new(sandboxes.clone()).keep(lifecycle.soft().clone()));
    sandboxes
}
