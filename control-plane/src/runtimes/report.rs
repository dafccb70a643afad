//! What the fleet offers, for operators and agents.

use dynamic_mcp_shared::job::Runtime;
use serde_json::{Map, Value, json};

use super::choice;
use crate::registry::RuntimeChoice;
use crate::scheduler;
use crate::scheduler::fleet::Fleet;

pub(super) fn report(default: Option<RuntimeChoice>, fleet: &Fleet) -> Value {
    let offered = fleet.offered();
    let mut report = Map::new();
    report.insert(
        "default".to_owned(),
        json!(choice::by_default(default, &offered).0),
    );
    report.insert("defaultSetting".to_owned(), json!(default));
    for runtime in Runtime::ALL {
        report.insert(runtime.as_str().to_owned(), of(runtime, &offered, fleet));
    }
    Value::Object(report)
}

fn of(runtime: Runtime, offered: &[Runtime], fleet: &Fleet) -> Value {
    let nodes = fleet.runtimes();
    let of_nodes = nodes
        .iter()
        .flat_map(|node| node.runtimes.iter().map(move |status| (&node.id, status)));
    let statuses: Vec<_> = of_nodes.filter(|(_, status)| status.runtime == runtime).collect();
    let available = statuses.iter().any(|(_, status)| status.is_available());
    let executors: Vec<_> = statuses
        .iter()
        .map(|(id, status)| {
            let mut executor = json!({"id": id.as_str(), "sandbox": status.sandbox});
            if let Some(why) = &status.unavailable {
                executor["unavailable"] = why.as_str().into();
            }
            executor
        })
        .collect();
    let mut report = json!({"available": available, "executors": executors});
    if statuses.is_empty() {
        report["reason"] = scheduler::lacking(runtime, offered).into();
    } else if !available {
        report["reason"] = "no executor that offers it can run it now".into();
    }
    report
}

/// `{"exe_…": {"node": "runc", "isolate": "unavailable: …"}}`
pub(super) fn by_executor(fleet: &Fleet) -> Value {
    let executors = fleet.runtimes().into_iter().map(|node| {
        let runtimes = node.runtimes.into_iter().map(|status| {
            let how = match status.unavailable {
                Some(why) => format!("unavailable: {why}"),
                None => status.sandbox,
            };
            (status.runtime.as_str().to_owned(), Value::from(how))
        });
        (node.id.as_str().to_owned(), Value::Object(runtimes.collect()))
    });
    Value::Object(executors.collect())
}
