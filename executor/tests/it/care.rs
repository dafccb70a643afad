//! What happens to sandboxes when nobody looks, or somebody meddles.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;

use crate::rig::{On, failure, job, result, run};

on_every_engine![
    a_sandbox_that_is_killed_from_outside_is_interrupted,
    a_waiting_sandbox_that_dies_is_replaced,
    many_calls_leave_no_sandbox_and_no_descriptor,
];

async fn a_sandbox_that_is_killed_from_outside_is_interrupted(on: On) {
    let rig = on.start().await;
    let prepared = rig
        .prepare(job("await new Promise((r) => setTimeout(r, 10_000))"))
        .await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.kill_all_sandboxes().await;
    };
    let (finished, ()) = tokio::join!(run(prepared, json!({})), kill);
    failure(&finished, Outcome::Interrupted);
    rig.assert_neighbour_unharmed().await;
    rig.finish().await;
}

async fn a_waiting_sandbox_that_dies_is_replaced(on: On) {
    let rig = on.start().await;
    rig.kill_all_sandboxes().await;
    assert_eq!(result(&rig.call("return 1").await), 1);
    rig.finish().await;
}

async fn many_calls_leave_no_sandbox_and_no_descriptor(on: On) {
    let rig = on.start().await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    for _ in 0..3 {
        result(&rig.call("return 1").await);
    }
    let before = descriptors();
    for _ in 0..10 {
        let (a, b) = tokio::join!(rig.call("return 1"), rig.call("throw 1"));
        result(&a);
        failure(&b, Outcome::Threw);
    }
    rig.until_quiet().await;
    assert!(descriptors() <= before + 8, "{} became {}", before, descriptors());
    rig.finish().await;
}
