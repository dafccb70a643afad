//! The effective configuration without its secrets, for `system.runtime_config`.

use serde_json::{Value, json};

use super::settings::{Backend, Settings};
use super::{BackendKind, Transport};
use crate::auth::ResourceUrl;
use crate::auth::jwt::{ClaimPath, JwtConfig};
use crate::mcp::Profile;
use dynamic_mcp_shared::telemetry::LogFormat;

/// Every setting that is in effect. A secret is `set` or `unset`, a URL is shown without user and password.
pub fn runtime_config(settings: &Settings) -> Value {
    json!({
        "transport": match settings.transport {
            Transport::Stdio => "stdio",
            Transport::Http => "http",
        },
        "profile": match settings.profile {
            Profile::Enterprise => "enterprise",
            Profile::Mvp => "mvp",
        },
        "stateDir": settings.state_dir,
        "shutdownGraceSeconds": settings.shutdown_grace.as_secs(),
        "http": http(settings),
        "dynamic": registry(settings),
        "sandbox": sandbox(settings),
        "guard": {
            "maxConcurrency": settings.guard.limits.max_concurrency,
            "maxCallsPerWindow": settings.guard.limits.max_calls_per_window,
            "windowMs": settings.guard.limits.window_ms,
            "queueWaitMs": millis(settings.guard.queue_wait),
            "queueMax": settings.guard.max_waiting,
            "onLoss": settings.guard_on_loss.as_str(),
        },
        "tenantDefaults": settings.tenant,
        "auth": auth(settings),
        "audit": {
            "enabled": settings.audit.enabled,
            "file": settings.audit.file,
            "keyFile": settings.audit.key.path(),
            "onLoss": settings.audit.on_loss.as_str(),
            "retentionDays": settings.audit.retention.as_secs() / 86_400,
            "maxEventBytes": settings.audit.max_event_bytes,
            "maxFileBytes": settings.audit.max_file_bytes,
            "maxFiles": settings.audit.max_files,
        },
        "fleet": fleet(settings),
        "redis": settings.redis.as_ref().map(|redis| json!({
            "url": presence(true),
            "cluster": redis.is_cluster,
            "caFile": redis.ca_file,
            "prefix": redis.prefix,
        })),
        "telemetry": {
            "log": settings.telemetry.filter,
            "logFormat": match settings.telemetry.format {
                LogFormat::Auto => "auto",
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "otlpEndpoint": settings.telemetry.otlp_endpoint.as_deref().map(without_user),
        },
    })
}

/// The settings of the executor within this process, where there is one; to be put under `engine`.
#[cfg(feature = "embedded-executor")]
pub fn engine_config(engine: &dynamic_mcp_executor::cli::EngineArgs) -> Value {
    json!({
        "engine": format!("{:?}", engine.engine).to_ascii_lowercase(),
        "memoryLimit": engine.memory_limit.to_string(),
        "cpuLimit": engine.cpu_limit.nanos as f64 / 1e9,
        "pidsLimit": engine.pids_limit,
        "tmpBytes": engine.tmp_bytes.0,
        "workspaceBytes": engine.workspace_bytes.0,
        "runtime": engine.runtime,
        "caBundle": engine.ca_bundle,
        "npmRegistry": engine.npm_registry,
        "npmRegistryNetworks": engine.npm_registry_networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "poolMin": engine.pool_min,
        "poolMax": engine.pool_max,
        "slots": engine.slots,
        "keptMaxUses": engine.kept_max_uses,
        "keptIdleSeconds": engine.kept_idle_seconds,
        "sessionSlots": engine.session_slots,
        "dockerHost": without_user(&engine.docker_host),
    })
}

fn http(settings: &Settings) -> Value {
    if settings.transport == Transport::Stdio {
        return Value::Null;
    }
    let http = &settings.http;
    json!({
        "host": http.host,
        "port": http.port,
        "path": http.path,
        "sessionTtlSeconds": http.session_ttl.as_secs(),
        "maxRequestBytes": http.max_request_bytes,
        "allowedHosts": http.allowed_hosts,
        "allowedOrigins": http.allowed_origins,
        "maxConnections": http.max_connections,
    })
}

fn auth(settings: &Settings) -> Value {
    let Some(auth) = &settings.auth else {
        return json!({ "mode": "none", "adminToken": presence(settings.registry.admin_token.is_some()) });
    };
    let JwtConfig {
        rules,
        scopes,
        resource,
    } = &auth.jwt;
    json!({
        "mode": "jwt",
        "jwksUrl": without_user(auth.jwks_url.as_str()),
        "jwksRefreshSeconds": auth.jwks_refresh.as_secs(),
        "caFile": presence(auth.authority.is_some()),
        "issuer": rules.issuer,
        "audience": rules.audience,
        "tenantClaim": rules.tenant.as_ref().map(ClaimPath::as_str),
        "leewaySeconds": rules.leeway.as_secs(),
        "scopes": {
            "required": scopes.always,
            "call": scopes.call,
            "write": scopes.write,
            "sandbox": scopes.sandbox,
            "admin": scopes.admin,
        },
        "resource": match resource {
            ResourceUrl::Fixed(url) => Some(url),
            ResourceUrl::ByHost(_) => None,
        },
    })
}

fn registry(settings: &Settings) -> Value {
    let registry = &settings.registry;
    let mut report = match &registry.backend {
        Backend::File { store } => json!({ "backend": name(BackendKind::File), "store": store }),
        Backend::Postgres(postgres) => json!({
            "backend": name(BackendKind::Postgres),
            "pgUrl": presence(true),
            "pgSchema": postgres.schema,
            "pgInitMaxAttempts": postgres.init_max_attempts,
            "pgInitBackoffMs": millis(postgres.init_backoff),
        }),
    };
    report["maxTools"] = settings.tenant.max_tools.into();
    report["readOnly"] = registry.read_only.into();
    report
}

fn fleet(settings: &Settings) -> Value {
    let fleet = settings.fleet.as_ref();
    let files = fleet.and_then(|fleet| fleet.tls.as_ref());
    json!({
        "bind": fleet.map(|fleet| fleet.bind.to_string()),
        "joinToken": presence(fleet.is_some_and(|fleet| fleet.join_token.is_needed())),
        "tls": files.map(|files| json!({"caFile": files.ca, "certFile": files.cert, "keyFile": files.key})),
        "insecure": fleet.is_some_and(|fleet| fleet.insecure),
    })
}

fn sandbox(settings: &Settings) -> Value {
    let policy = &settings.policy;
    json!({
        "allowedImages": policy.allowed_images,
        "requireDigest": policy.require_digest,
        "allowedPackages": policy.allowed_packages,
        "blockedPackages": policy.blocked_packages,
        "allowToolIsolation": policy.allow_tool_isolation,
        "maxDependencies": policy.max_dependencies,
        "maxOutputBytes": policy.max_output_bytes,
        "maxFileBytes": policy.max_file_bytes,
        "maxTimeoutMs": policy.max_timeout,
        "maxSessions": settings.sandbox.max_sessions,
        "sessionTimeoutSeconds": settings.sandbox.idle.as_secs(),
        "sessionMaxSeconds": settings.sandbox.max_life.as_secs(),
        "maxFileBytes": settings.sandbox.files.max_file_bytes,
    })
}

fn name(backend: BackendKind) -> &'static str {
    match backend {
        BackendKind::File => "file",
        BackendKind::Postgres => "postgres",
    }
}

fn presence(set: bool) -> &'static str {
    if set { "set" } else { "unset" }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A password may stand in a URL's authority or in its query.
fn without_user(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        assert_eq!(
            without_user("http://user:p@ss@collector:4317/v1?key=1"),
            "http://collector:4317/v1"
        );
        assert_eq!(
            without_user("unix:///var/run/docker.sock"),
            "unix:///var/run/docker.sock"
        );
    }
}
