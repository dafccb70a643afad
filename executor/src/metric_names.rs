//! Every metric of the executor by name; labels have few and fixed values, so never a tool, a tenant or an id.

/// Counter by `outcome`, `placement` and `runtime`.
pub const JOBS_TOTAL: &str = "dynamic_mcp_executor_jobs_total";
/// Histogram by `placement` and `runtime`: from the start to the end of a job.
pub const JOB_SECONDS: &str = "dynamic_mcp_executor_job_seconds";
/// Histogram by `placement` and `runtime`: from the request to a prepared sandbox.
pub const PREPARE_SECONDS: &str = "dynamic_mcp_executor_prepare_seconds";
/// Counter by `reason`.
pub const REJECTIONS_TOTAL: &str = "dynamic_mcp_executor_rejections_total";
/// Histogram by `step` and `outcome`.
pub const ENGINE_CALL_SECONDS: &str = "dynamic_mcp_executor_engine_call_seconds";
/// Gauge: 1 when the container engine answers.
pub const ENGINE_UP: &str = "dynamic_mcp_executor_engine_up";
/// Gauge by `image`: containers that wait for a call.
pub const POOL_WARM: &str = "dynamic_mcp_executor_pool_warm";
/// Gauge by `runtime`: sandboxes that stay with their tool.
pub const KEPT_IDLE: &str = "dynamic_mcp_executor_kept_idle";
pub const CONTAINERS_CREATED_TOTAL: &str = "dynamic_mcp_executor_containers_created_total";
pub const CONTAINERS_REMOVED_TOTAL: &str = "dynamic_mcp_executor_containers_removed_total";
/// Counter: containers that nobody owned any more.
pub const CONTAINERS_REAPED_TOTAL: &str = "dynamic_mcp_executor_containers_reaped_total";
/// Gauge: locked-down processes that wait for a call.
pub const ISOLATE_SPARES: &str = "dynamic_mcp_executor_isolate_spares";
/// Counter: children that made a forbidden system call, crashed or broke their protocol.
pub const ISOLATE_BREACHES_TOTAL: &str = "dynamic_mcp_executor_isolate_breaches_total";
/// Counter by `reason` (age, children, breach, died, none).
pub const ZYGOTE_RENEWALS_TOTAL: &str = "dynamic_mcp_executor_zygote_renewals_total";
/// Counter: zygotes that were ended because they did not end a child in time.
pub const ZYGOTES_STALLED_TOTAL: &str = "dynamic_mcp_executor_zygotes_stalled_total";
/// Histogram: from the start of a zygote to its being ready.
pub const ZYGOTE_START_SECONDS: &str = "dynamic_mcp_executor_zygote_start_seconds";
/// Gauge.
pub const SANDBOXES_OPEN: &str = "dynamic_mcp_executor_sandbox_sessions_open";
pub const SANDBOXES_OPENED_TOTAL: &str = "dynamic_mcp_executor_sandbox_sessions_opened_total";
/// Counter by `reason` (stopped, idle, max_age, lost).
pub const SANDBOXES_ENDED_TOTAL: &str = "dynamic_mcp_executor_sandbox_sessions_ended_total";
/// Counter by `what` (commands, run_js, background) and `outcome`.
pub const SANDBOX_JOBS_TOTAL: &str = "dynamic_mcp_executor_sandbox_jobs_total";
/// Histogram by `what`: from the start to the end of what runs in a sandbox session.
pub const SANDBOX_JOB_SECONDS: &str = "dynamic_mcp_executor_sandbox_job_seconds";
/// Gauge: seconds since 1970.
pub const CERTIFICATE_EXPIRES_AT: &str = "dynamic_mcp_executor_certificate_expires_at_seconds";
