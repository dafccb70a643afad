//! What is shared between the calls of a tool that keeps its container, and what never is.

use std::time::Duration;

use dynamic_mcp_executor::docker::config::{DockerConfig, KeptConfig};
use dynamic_mcp_executor::engine::Engine as _;
use dynamic_mcp_shared::job::{Job, Placement, RejectReason};
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::{Value, json};

use crate::rig::{Rig, eventually, failure, idle_after, kept, result, run, small, within};

const COUNT: &str = "globalThis.calls = (globalThis.calls ?? 0) + 1; return globalThis.calls";

async fn placed(rig: &Rig, job: Job) -> (Placement, Value) {
    let prepared = rig.prepare(job).await;
    let placement = prepared.placement();
    (placement, result(&run(prepared, json!({})).await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_container_serves_its_tool_again() {
    let rig = Rig::start().await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    assert_eq!(
        placed(&rig, kept("count", COUNT)).await,
        (Placement::Kept, json!(2))
    );
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_across_tools_tenants_or_revisions() {
    let rig = Rig::start().await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    assert_eq!(placed(&rig, kept("other", COUNT)).await.1, 1);
    let tenant = Job {
        tenant: "another".parse().unwrap(),
        ..kept("count", COUNT)
    };
    assert_eq!(placed(&rig, tenant).await.1, 1);
    let anew = "return 'new code'";
    assert_eq!(placed(&rig, kept("count", anew)).await.1, "new code");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_leaves_behind_is_not_the_next_ones_output() {
    let rig = Rig::start().await;
    let code = "const { spawn } = require('node:child_process');
        spawn('sh', ['-c', 'sleep 0.2; echo stray'], { stdio: 'inherit' });
        console.log('call', args.n); console.error('err', args.n); return args.n";
    for n in 0..2 {
        let finished = rig.run(kept("noisy", code), json!({ "n": n })).await;
        assert_eq!(result(&finished), n);
        assert_eq!(finished.stdout.to_text(), format!("call {n}\n"));
        assert_eq!(finished.stderr.to_text(), format!("err {n}\n"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throw_keeps_the_container_and_worse_does_not() {
    let rig = Rig::start().await;
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1;
        if (args.do === 'throw') throw new Error('thrown');
        if (args.do === 'loop') for (;;) {}
        if (args.do === 'exit') process.exit(1);
        if (args.do === 'crash') { setTimeout(() => { throw new Error('late') }); await new Promise((r) => setTimeout(r, 5e3)) }
        if (args.do === 'bomb') { const k = []; for (;;) k.push(Buffer.alloc(8 << 20, 1)) }
        return globalThis.calls";
    let call = async |what: &str| {
        // Only the loop waits for its deadline.
        let ms = if what == "loop" { 2_000 } else { 20_000 };
        let job = within(kept("moody", code), ms);
        rig.run(job, json!({ "do": what })).await
    };
    assert_eq!(result(&call("count").await), 1);
    failure(&call("throw").await, Outcome::Threw);
    assert_eq!(result(&call("count").await), 3);
    for (what, outcome) in [
        ("loop", Outcome::TimedOut),
        ("exit", Outcome::Threw),
        ("crash", Outcome::Threw),
        ("bomb", Outcome::OutOfMemory),
    ] {
        failure(&call(what).await, outcome);
        assert_eq!(result(&call("count").await), 1, "after {what}");
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_replaced_after_its_uses_and_its_idle_time() {
    let rig = Rig::with(DockerConfig {
        kept: KeptConfig {
            max_uses: 2,
            ..KeptConfig::default()
        },
        ..small()
    })
    .await;
    let mut counted = Vec::new();
    for _ in 0..4 {
        counted.push(placed(&rig, kept("count", COUNT)).await.1);
    }
    assert_eq!(counted, [1, 2, 1, 2]);
    rig.finish().await;

    let rig = Rig::with(idle_after(Duration::from_millis(100))).await;
    let used = rig.containers().await.pop().unwrap();
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    eventually("an idle container goes", async || {
        !rig.containers().await.contains(&used)
    })
    .await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_have_a_container_each() {
    let rig = Rig::start().await;
    let slow = "await new Promise((r) => setTimeout(r, 300)); return 1";
    let (first, second) = tokio::join!(
        rig.run(kept("slow", slow), json!({})),
        rig.run(kept("slow", slow), json!({}))
    );
    assert_eq!((result(&first), result(&second)), (json!(1), json!(1)));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_cannot_be_loaded_fails_each_call_alike() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        let finished = rig.run(kept("broken", "return ("), json!({})).await;
        assert_eq!(failure(&finished, Outcome::Threw), "Unexpected token '}'");
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_tool_without_a_hash_is_refused() {
    let rig = Rig::start().await;
    let job = Job {
        content_hash: None,
        revision: 0,
        ..kept("x", "return 1")
    };
    let refused = rig.engine.prepare(job).await.err().unwrap();
    assert_eq!(refused.reason, RejectReason::Unsupported);
    rig.finish().await;
}
