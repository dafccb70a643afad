//! What becomes of zygotes: they are renewed, replaced when they die, and take everything of theirs along.

use std::time::Duration;

use dynamic_mcp_executor::isolate::IsolateConfig;
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;

use super::processes::Seen;
use super::rig::{IsolateRig, small};
use crate::rig::{eventually, failure, job, kept, result, run};

fn kill(process: &Seen) {
    let pid = process.pid.to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    assert!(killed.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zygote_that_is_killed_takes_its_calls_along_and_is_replaced() {
    let rig = IsolateRig::start().await;
    for keeper in [false, true] {
        let prepared = rig
            .prepare(job("await new Promise((r) => setTimeout(r, 10_000))"))
            .await;
        let before = rig.family();
        let doomed = if keeper { &before.keepers } else { &before.zygotes };
        let doom = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            doomed.iter().for_each(kill);
        };
        let (finished, ()) = tokio::join!(run(prepared, json!({})), doom);
        failure(&finished, Outcome::Interrupted);
        assert!(
            finished.usage.duration < Duration::from_secs(5),
            "{:?}",
            finished.usage
        );
        rig.assert_neighbour_unharmed().await;
        eventually("all of the old family is gone", async || {
            !before.all().any(Seen::is_alive)
        })
        .await;
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zygote_is_renewed_after_its_share_of_children_and_no_call_notices() {
    let few = IsolateConfig {
        renewal: dynamic_mcp_executor::isolate::config::RenewalConfig {
            after_children: 5,
            ..small().renewal
        },
        ..small()
    };
    let rig = IsolateRig::with(few).await;
    let first = rig.family().zygotes;
    let long = rig
        .prepare(job(
            "await new Promise((r) => setTimeout(r, 3_000)); return 'whole'",
        ))
        .await;
    let others = async {
        for _ in 0..20 {
            assert_eq!(result(&rig.call("return 1").await), 1);
        }
        eventually("another zygote", async || {
            rig.family().zygotes.iter().any(|zygote| !first.contains(zygote))
        })
        .await;
    };
    let (finished, ()) = tokio::join!(run(long, json!({})), others);
    assert_eq!(result(&finished), "whole");
    eventually("the first zygote is gone", async || {
        !first.iter().any(Seen::is_alive)
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_are_all_served() {
    let many = IsolateConfig {
        slots: 256,
        ..small()
    };
    let rig = IsolateRig::with(many).await;
    for tool in [job("return args.n"), kept("crowded", "return args.n")] {
        let calls = (0..200).map(|n| rig.run(tool.clone(), json!({ "n": n })));
        for (n, finished) in futures::future::join_all(calls).await.iter().enumerate() {
            assert_eq!(result(finished), n);
        }
    }
    rig.finish().await;
}

/// Two children of one zygote share its memory's layout, but no chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_calls_have_the_same_chance() {
    let rig = IsolateRig::start().await;
    let code =
        "return [Math.random(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(8))].join()]";
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        for drawn in result(&rig.call(code).await).as_array().unwrap() {
            assert!(seen.insert(drawn.to_string()), "{drawn} came twice");
        }
    }
    rig.finish().await;
}
