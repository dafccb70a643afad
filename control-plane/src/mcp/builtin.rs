//! The tools that the server brings itself: what `tools/list` says of them, and the call of each. The list is built once.

mod audit;
mod catalog;
mod dev;
mod ephemeral;
mod fleet;
mod sandbox;
mod schemas;
mod system;
mod tenants;

use std::sync::LazyLock;

use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::outcome::Outcome;
use rmcp::model::{CallToolResult, JsonObject, Tool};
use serde_json::Value;

use self::catalog::CatalogTool;
use self::sandbox::SandboxTool;
use super::arguments::BadArgument;
use super::feedback::Feedback;
use super::pin::Pin;
use super::{McpDeps, Profile, result};
use crate::auth::Forbidden;
use crate::metric_names;
use crate::principal::{Caller, Right};

/// Their names, sorted, whatever the profile shows.
pub const NAMES: [&str; 31] = [
    "dev.echo",
    "dynamic.tool.call",
    "dynamic.tool.create",
    "dynamic.tool.delete",
    "dynamic.tool.diff",
    "dynamic.tool.enable",
    "dynamic.tool.get",
    "dynamic.tool.history",
    "dynamic.tool.list",
    "dynamic.tool.rollback",
    "dynamic.tool.update",
    "run_js_ephemeral",
    "sandbox.command.get",
    "sandbox.command.kill",
    "sandbox.exec",
    "sandbox.fs.list",
    "sandbox.fs.read",
    "sandbox.fs.write",
    "sandbox.initialize",
    "sandbox.run_js",
    "sandbox.session.list",
    "sandbox.stop",
    "system.audit.query",
    "system.fleet",
    "system.fleet.drain",
    "system.guard_metrics",
    "system.health",
    "system.runtime_config",
    "system.tenant.get",
    "system.tenant.set",
    "time.now",
];

pub(super) struct Builtin {
    pub(super) tool: Tool,
    call: Call,
    in_mvp: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Health,
    GuardMetrics,
    RuntimeConfig,
    TenantGet,
    TenantSet,
    AuditQuery,
    Fleet,
    FleetDrain,
    Catalog(CatalogTool),
    ByName,
    RunEphemeral,
    Sandbox(SandboxTool),
    Echo,
    TimeNow,
}

/// One call of a built-in tool.
pub(super) struct Invocation<'a> {
    pub(super) deps: &'a McpDeps,
    pub(super) caller: &'a Caller,
    pub(super) arguments: Option<JsonObject>,
    /// What a call of a tool must run, if it says so.
    pub(super) pin: Pin,
    pub(super) feedback: Feedback,
}

static ALL: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let mut all: Vec<Builtin> = [
        system::tools(),
        audit::tools(),
        catalog::tools(),
        ephemeral::tools(),
        fleet::tools(),
        sandbox::tools(),
        dev::tools(),
        tenants::tools(),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by(|one, other| one.tool.name.cmp(&other.tool.name));
    all
});

/// What `system.guard_metrics` and the resource of the same content show.
pub(super) async fn guard_metrics(deps: &McpDeps, tenant: &TenantId) -> Value {
    system::metrics(deps, tenant).await
}

/// What `system.fleet` and the resource of the same content show.
///
/// # Errors
/// Where a token is needed, which no resource takes.
pub(super) fn fleet(deps: &McpDeps) -> Result<Value, Forbidden> {
    fleet::shown(deps)
}

/// Those that a profile shows, by name.
pub(super) fn shown(profile: Profile) -> impl Iterator<Item = &'static Builtin> {
    ALL.iter()
        .filter(move |builtin| builtin.in_mvp || profile == Profile::Enterprise)
}

pub(super) fn find(profile: Profile, name: &str) -> Option<&'static Builtin> {
    let index = ALL
        .binary_search_by(|builtin| builtin.tool.name.as_ref().cmp(name))
        .ok()?;
    ALL.get(index)
        .filter(|builtin| builtin.in_mvp || profile == Profile::Enterprise)
}

impl Builtin {
    fn new(tool: Tool, call: Call) -> Self {
        Self {
            tool,
            call,
            in_mvp: true,
        }
    }

    fn hidden_in_mvp(mut self) -> Self {
        self.in_mvp = false;
        self
    }

    pub(super) fn needs(&self) -> Right {
        match self.call {
            Call::Catalog(_) => Right::Write,
            Call::RuntimeConfig
            | Call::AuditQuery
            | Call::Fleet
            | Call::FleetDrain
            | Call::TenantGet
            | Call::TenantSet => Right::Admin,
            Call::Sandbox(_) => Right::Sandbox,
            Call::Health
            | Call::GuardMetrics
            | Call::ByName
            | Call::RunEphemeral
            | Call::Echo
            | Call::TimeNow => Right::Call,
        }
    }

    pub(super) async fn call(&self, invocation: Invocation<'_>) -> CallToolResult {
        let answer = match self.call {
            Call::Health => system::health(invocation),
            Call::GuardMetrics => system::guard_metrics(invocation).await,
            Call::RuntimeConfig => system::runtime_config(invocation),
            Call::TenantGet => tenants::get(invocation).await,
            Call::TenantSet => tenants::set(invocation).await,
            Call::AuditQuery => audit::query(invocation).await,
            Call::Fleet => fleet::show(invocation),
            Call::FleetDrain => fleet::drain(invocation).await,
            Call::Catalog(tool) => catalog::call(tool, invocation).await,
            Call::ByName => super::dynamic::call_by_name(invocation).await,
            Call::RunEphemeral => ephemeral::call(invocation).await,
            Call::Sandbox(tool) => sandbox::call(tool, invocation).await,
            Call::Echo => dev::echo(invocation),
            Call::TimeNow => dev::time_now(invocation),
        };
        self.count(&answer);
        let has_output_schema = self.tool.output_schema.is_some();
        answer.unwrap_or_else(|wrong| result::invalid_arguments(&wrong, has_output_schema))
    }

    /// Those that run a job are counted where it ran.
    fn count(&self, answer: &Result<CallToolResult, BadArgument>) {
        let outcome = match (self.call, answer) {
            (Call::ByName | Call::RunEphemeral | Call::Sandbox(_), Ok(_)) => return,
            (_, Ok(answer)) if answer.is_error == Some(true) => Outcome::Threw,
            (_, Ok(_)) => Outcome::Ok,
            (_, Err(_)) => Outcome::InvalidInput,
        };
        metrics::counter!(metric_names::CALLS, "kind" => "builtin", "outcome" => outcome.as_str())
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(profile: Profile) -> Vec<&'static str> {
        shown(profile).map(|builtin| builtin.tool.name.as_ref()).collect()
    }

    #[test]
    fn the_reserved_names_are_those_of_the_tools() {
        assert_eq!(names(Profile::Enterprise), NAMES);
    }

    #[test]
    fn the_mvp_profile_hides_what_is_about_the_server_itself() {
        let shown: HashSet<_> = names(Profile::Mvp).into_iter().collect();
        let hidden: HashSet<_> = NAMES.into_iter().filter(|name| !shown.contains(name)).collect();
        let expected = [
            "dynamic.tool.diff",
            "dynamic.tool.history",
            "dynamic.tool.rollback",
            "system.audit.query",
            "system.fleet",
            "system.fleet.drain",
            "system.guard_metrics",
            "system.runtime_config",
            "system.tenant.get",
            "system.tenant.set",
            "sandbox.command.get",
            "sandbox.command.kill",
            "sandbox.exec",
            "sandbox.fs.list",
            "sandbox.fs.read",
            "sandbox.fs.write",
            "sandbox.initialize",
            "sandbox.run_js",
            "sandbox.session.list",
            "sandbox.stop",
            "dev.echo",
            "time.now",
        ];
        assert_eq!(hidden, HashSet::from(expected));
        assert!(find(Profile::Mvp, "dev.echo").is_none());
        assert!(find(Profile::Enterprise, "dev.echo").is_some());
        assert!(find(Profile::Enterprise, "no.such").is_none());
    }

    #[test]
    fn every_tool_is_described_and_takes_nothing_that_its_schema_does_not_name() {
        for builtin in shown(Profile::Enterprise) {
            let tool = &builtin.tool;
            assert!(
                tool.description.as_ref().is_some_and(|text| text.len() > 30),
                "{}",
                tool.name
            );
            assert!(
                tool.title.is_some() && tool.annotations.is_some(),
                "{}",
                tool.name
            );
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            let schema = serde_json::Value::Object(tool.input_schema.as_ref().clone());
            jsonschema::draft202012::meta::validate(&schema).expect("a JSON Schema");
        }
    }
}
