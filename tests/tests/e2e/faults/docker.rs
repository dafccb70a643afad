//! What a Docker Engine adds to what can go wrong: containers outlive who made them, and it hangs and goes away by itself.

mod control_plane_killed;
mod engine_lost;
mod executor_killed;
mod mixed_fleet;
mod neighbours;

use super::NO_POOL;

/// Every container is a call's then, so that one which is left is seen.
const WITHOUT_POOL: [(&str, &str); 4] = [
    NO_POOL[0],
    NO_POOL[1],
    ("MCP_EXECUTION_ENGINE", "docker"),
    ("MCP_DEFAULT_RUNTIME", "node"),
];
