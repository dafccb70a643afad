//! `system.fleet` and `system.fleet.drain`. The work is that of [`crate::fleet_admin::FleetAdmin`].

use std::collections::BTreeMap;

use dynamic_mcp_shared::ids::ReplicaId;
use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::auth::Forbidden;
use crate::fleet_admin::{Asker, FleetAdminError, MAX_REASON_CHARS};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::{McpDeps, result};
use crate::scheduler::fleet::{NodeState, NodeView};

const SHOW: &str = "The executors that run code, as this replica sees them: state (ready, stale, draining, not_ready and why), \
slots and how many are taken, warm sandboxes by image, runtimes, sandbox sessions, version, when each was heard of last and \
which replicas it has joined; and the totals. For operators.";

const DRAIN: &str = "Sends an executor away: it takes no new work, finishes the jobs that it runs, gives its sandbox sessions \
their grace, and then leaves the fleet and ends. Asking again changes nothing. For operators.";

pub(super) fn tools() -> Vec<Builtin> {
    let show = schemas::object(json!({"adminToken": schemas::admin_token()}), &[]);
    let drain = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "executorId": {"type": "string", "pattern": "^exe_[a-zA-Z0-9-]{1,64}$", "description": "As system.fleet shows it."},
            "reason": {"type": "string", "maxLength": MAX_REASON_CHARS, "description": "For the logs and the audit."}
        }),
        &["executorId"],
    );
    let hints = ToolAnnotations::new().open_world(false).idempotent(true);
    let show = Tool::new("system.fleet", SHOW, show)
        .with_title("Executors")
        .with_annotations(hints.clone().read_only(true));
    let drain = Tool::new("system.fleet.drain", DRAIN, drain)
        .with_title("Drain an executor")
        .with_annotations(hints.read_only(false).destructive(true));
    vec![
        Builtin::new(show, Call::Fleet).hidden_in_mvp(),
        Builtin::new(drain, Call::FleetDrain).hidden_in_mvp(),
    ]
}

pub(super) fn show(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken"])?;
    let asker = Asker {
        caller: invocation.caller,
        admin_token: arguments.secret("adminToken")?,
    };
    let admin = &invocation.deps.fleet;
    Ok(match admin.nodes(&asker) {
        Ok(nodes) => result::shown(report(&nodes, &admin.replica)),
        Err(error) => refused(&error),
    })
}

pub(super) async fn drain(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "executorId", "reason"])?;
    let asker = Asker {
        caller: invocation.caller,
        admin_token: arguments.secret("adminToken")?,
    };
    let executor = arguments.string("executorId")?;
    let reason = arguments.optional_string("reason")?.unwrap_or_default();
    let drained = invocation.deps.fleet.drain(&asker, &executor, &reason).await;
    Ok(match drained {
        Ok(drained) => result::shown(json!({
            "executorId": drained.id,
            "epoch": drained.epoch,
            "state": NodeState::Draining.as_str(),
            "wasDraining": drained.was_draining,
            "running": drained.running,
        })),
        Err(error) => refused(&error),
    })
}

/// What the resource shows to who has the right.
pub(super) fn shown(deps: &McpDeps) -> Result<Value, Forbidden> {
    let nodes = deps.fleet.nodes_without_token()?;
    Ok(report(&nodes, &deps.fleet.replica))
}

fn refused(error: &FleetAdminError) -> CallToolResult {
    result::refused(error.to_string(), error.kind())
}

fn report(nodes: &[NodeView], replica: &ReplicaId) -> Value {
    let mut states: BTreeMap<_, _> = NodeState::NAMES.map(|name| (name, 0_u64)).into();
    for node in nodes {
        *states.entry(node.state.as_str()).or_default() += 1;
    }
    let sum = |of: fn(&NodeView) -> u64| nodes.iter().map(of).sum::<u64>();
    json!({
        "replica": replica,
        "executors": nodes.iter().map(|node| about(node, replica)).collect::<Vec<_>>(),
        "totals": {
            "executors": nodes.len(),
            "states": states,
            "slots": sum(|node| node.status.slots.into()),
            "running": sum(|node| node.status.running.into()),
            "sandboxes": nodes.iter().map(|node| node.status.sandboxes.len()).sum::<usize>(),
        },
    })
}

fn about(node: &NodeView, replica: &ReplicaId) -> Value {
    let status = &node.status;
    let warm: BTreeMap<_, _> = status
        .images
        .iter()
        .filter(|image| image.present)
        .map(|image| (image.name.as_str(), image.warm))
        .collect();
    let here = node.joined_here.then_some(replica);
    let mut about = json!({
        "id": node.info.id,
        "epoch": node.info.epoch,
        "version": node.info.version,
        "state": node.state.as_str(),
        "slots": status.slots,
        "running": status.running,
        "load": f64::from(status.running) / f64::from(status.slots.max(1)),
        "warm": warm,
        "sandboxes": status.sandboxes.len(),
        "sandboxSlots": status.sandbox_slots,
        "runtimes": status.runtimes.iter().map(|offered| json!({
            "runtime": offered.runtime,
            "available": offered.is_available(),
            "sandbox": offered.sandbox,
            "unavailable": offered.unavailable,
        })).collect::<Vec<_>>(),
        "seenMsAgo": u64::try_from(node.age.as_millis()).unwrap_or(u64::MAX),
        "replicas": here.into_iter().chain(&node.others).collect::<Vec<_>>(),
    });
    if let NodeState::NotReady(why) = &node.state {
        about["why"] = why.as_str().into();
    }
    if !node.info.address.is_empty() {
        about["address"] = node.info.address.as_str().into();
    }
    about
}
