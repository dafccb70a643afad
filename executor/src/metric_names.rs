//! Every metric of the executor by name; labels have few and fixed values, so never a tool, a tenant or an id.

/// Counter by `outcome` and `placement`.
pub const JOBS_TOTAL: &str = "dynamic_mcp_executor_jobs_total";
/// Histogram by `placement`: from the start to the end of a job.
pub const JOB_SECONDS: &str = "dynamic_mcp_executor_job_seconds";
/// Histogram by `placement`: from the request to a prepared sandbox.
pub const PREPARE_SECONDS: &str = "dynamic_mcp_executor_prepare_seconds";
/// Counter by `reason`.
pub const REJECTIONS_TOTAL: &str = "dynamic_mcp_executor_rejections_total";
/// Histogram by `step` and `outcome`.
pub const ENGINE_CALL_SECONDS: &str = "dynamic_mcp_executor_engine_call_seconds";
/// Gauge: 1 when the container engine answers.
pub const ENGINE_UP: &str = "dynamic_mcp_executor_engine_up";
/// Gauge by `image`: containers that wait for a call.
pub const POOL_WARM: &str = "dynamic_mcp_executor_pool_warm";
/// Gauge: containers that stay with their tool.
pub const KEPT_IDLE: &str = "dynamic_mcp_executor_kept_idle";
pub const CONTAINERS_CREATED_TOTAL: &str = "dynamic_mcp_executor_containers_created_total";
pub const CONTAINERS_REMOVED_TOTAL: &str = "dynamic_mcp_executor_containers_removed_total";
/// Counter: containers that nobody owned any more.
pub const CONTAINERS_REAPED_TOTAL: &str = "dynamic_mcp_executor_containers_reaped_total";
