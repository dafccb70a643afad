//! Every metric of this binary, by name, and what its labels may be. A label is one of a fixed set of words, never
//! anything that a user wrote.

use metrics::Unit;

use crate::scheduler::fleet::NodeState;

/// From the contract; always there, from the first scrape on.
pub const PROCESS_UPTIME: &str = "dynamic_mcp_process_uptime_seconds";
pub const HTTP_SESSIONS_ACTIVE: &str = "dynamic_mcp_http_sessions_active";
pub const HTTP_SESSIONS_CREATED: &str = "dynamic_mcp_http_sessions_created_total";
pub const HTTP_SESSIONS_EXPIRED: &str = "dynamic_mcp_http_sessions_expired_total";
pub const HTTP_AUTH_SUCCESS: &str = "dynamic_mcp_http_auth_success_total";
pub const HTTP_AUTH_DENIED: &str = "dynamic_mcp_http_auth_denied_total";

/// Labels: `kind` (`tool`, `ephemeral`, `sandbox`, `builtin`) and `outcome` ([`dynamic_mcp_shared::outcome::Outcome::as_str`]).
pub const CALLS: &str = "dynamic_mcp_calls_total";
/// Seconds. Label `stage`: [`Stage::as_str`].
pub const CALL_STAGE_SECONDS: &str = "dynamic_mcp_call_stage_seconds";
/// Where the sandbox of a job came from. Labels: `placement` ([`dynamic_mcp_shared::job::Placement::as_str`]) and `runtime`
/// ([`dynamic_mcp_shared::job::Runtime::as_str`]).
pub const PLACEMENTS: &str = "dynamic_mcp_placements_total";
/// Label `reason`: `rate`, `concurrency`, `store_lost`.
pub const GUARD_REFUSALS: &str = "dynamic_mcp_guard_refusals_total";
/// Of this replica.
pub const GUARD_ACTIVE: &str = "dynamic_mcp_guard_active_executions";
/// With Redis only, as the next.
pub const GUARD_REVOKED: &str = "dynamic_mcp_guard_revoked_total";
pub const GUARD_REPLICAS: &str = "dynamic_mcp_guard_replicas";
/// Label `kind`: `write` (an attempt to write failed), `lost` (a line that will never be written), `refused` (an action that
/// was refused for want of its entry), `store` (an attempt to reach the other store failed), `unsent` (a line that the database
/// will never have), `foreign` (a line in the file that no server wrote).
pub const AUDIT_ERRORS: &str = "dynamic_mcp_audit_errors_total";
/// Label `reason`: `host`, `origin`, `too_large`.
pub const HTTP_REFUSALS: &str = "dynamic_mcp_http_refusals_total";
pub const HTTP_CONNECTIONS: &str = "dynamic_mcp_http_connections_active";
/// Label `state`: [`crate::scheduler::fleet::NodeState::as_str`].
pub const EXECUTORS: &str = "dynamic_mcp_executors";
/// Seconds since 1970; there only with certificates between the planes.
pub const CERTIFICATE_EXPIRES_AT: &str = "dynamic_mcp_certificate_expires_at_seconds";

/// What the time of a call is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the guard's permit.
    Guard,
    /// Finding a node and waiting for one.
    Place,
    /// From the request to the prepared sandbox.
    Prepare,
    /// The user's code.
    Run,
    /// All of it, as the caller sees it.
    Total,
}

impl Stage {
    pub const ALL: [Stage; 5] = [
        Stage::Guard,
        Stage::Place,
        Stage::Prepare,
        Stage::Run,
        Stage::Total,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Guard => "guard",
            Stage::Place => "place",
            Stage::Prepare => "prepare",
            Stage::Run => "run",
            Stage::Total => "total",
        }
    }

    pub fn record(self, time: std::time::Duration) {
        metrics::histogram!(CALL_STAGE_SECONDS, "stage" => self.as_str()).record(time.as_secs_f64());
    }
}

/// Registers what each metric means, and the contract's counters and gauges with zero.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_gauge!(PROCESS_UPTIME, Unit::Seconds, "Time since the process started");
    describe_gauge!(HTTP_SESSIONS_ACTIVE, "Legacy MCP sessions that are open");
    describe_counter!(HTTP_SESSIONS_CREATED, "Legacy MCP sessions that were begun");
    describe_counter!(
        HTTP_SESSIONS_EXPIRED,
        "Legacy MCP sessions that ended by idleness"
    );
    describe_counter!(HTTP_AUTH_SUCCESS, "Requests whose token was accepted");
    describe_counter!(HTTP_AUTH_DENIED, "Requests whose token was missing or refused");
    describe_counter!(CALLS, "Calls by kind and outcome");
    describe_histogram!(CALL_STAGE_SECONDS, Unit::Seconds, "Where the time of a call goes");
    describe_counter!(PLACEMENTS, "Jobs by where their sandbox came from");
    describe_counter!(GUARD_REFUSALS, "Calls that the guard refused");
    describe_gauge!(GUARD_ACTIVE, "Executions of this replica that hold a permit");
    describe_counter!(
        GUARD_REVOKED,
        "Executions that were ended because their permit could not be renewed"
    );
    describe_gauge!(GUARD_REPLICAS, "Replicas that share the guard's limits");
    describe_counter!(AUDIT_ERRORS, "Faults of the audit log");
    describe_counter!(HTTP_REFUSALS, "Requests refused before MCP saw them");
    describe_gauge!(HTTP_CONNECTIONS, "Open HTTP connections");
    describe_gauge!(EXECUTORS, "Executors that are known, by their state");
    describe_gauge!(
        CERTIFICATE_EXPIRES_AT,
        Unit::Seconds,
        "When this side's certificate expires"
    );

    for gauge in [
        PROCESS_UPTIME,
        HTTP_SESSIONS_ACTIVE,
        GUARD_ACTIVE,
        HTTP_CONNECTIONS,
    ] {
        metrics::gauge!(gauge).set(0.0);
    }
    for state in NodeState::NAMES {
        metrics::gauge!(EXECUTORS, "state" => state).set(0.0);
    }
    for counter in [
        HTTP_SESSIONS_CREATED,
        HTTP_SESSIONS_EXPIRED,
        HTTP_AUTH_SUCCESS,
        HTTP_AUTH_DENIED,
    ] {
        metrics::counter!(counter).absolute(0);
    }
}
