//! What is shared between the calls of a tool that keeps its sandbox, and what never is.

use std::time::Duration;

use dynamic_mcp_executor::kept::KeptConfig;
use dynamic_mcp_shared::job::{Job, JobEvent, Placement, RejectReason};
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::rig::{On, Rig, eventually, failure, kept, result, run, within};

const COUNT: &str = "globalThis.calls = (globalThis.calls ?? 0) + 1; return globalThis.calls";

async fn placed(rig: &Rig, job: Job) -> (Placement, Value) {
    let prepared = rig.prepare(job).await;
    let placement = prepared.placement();
    (placement, result(&run(prepared, json!({})).await))
}

on_every_engine![
    a_kept_sandbox_serves_its_tool_again,
    never_across_tools_tenants_or_revisions,
    what_a_call_leaves_behind_is_not_the_next_ones,
    a_throw_keeps_the_sandbox_and_worse_does_not,
    a_sandbox_is_replaced_after_its_uses,
    a_sandbox_is_replaced_after_its_idle_time,
    concurrent_calls_have_a_sandbox_each,
    a_module_that_cannot_be_loaded_fails_each_call_alike,
    isolation_tool_without_a_hash_is_refused,
];

async fn a_kept_sandbox_serves_its_tool_again(on: On) {
    let rig = on.start().await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    assert_eq!(
        placed(&rig, kept("count", COUNT)).await,
        (Placement::Kept, json!(2))
    );
    rig.finish().await;
}

async fn never_across_tools_tenants_or_revisions(on: On) {
    let rig = on.start().await;
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

async fn what_a_call_leaves_behind_is_not_the_next_ones(on: On) {
    let rig = on.start().await;
    // Timers and promises that come up in a later call, with what the earlier one had.
    let code = "const n = args.n; setInterval(() => ctx.progress(n), 5);
        Promise.resolve().then(() => new Promise((r) => setTimeout(r, 20))).then(() => { args.n = 'stray'; ctx.progress(n) });
        if (n > 0) await new Promise((r) => setTimeout(r, 100));
        console.log('call'); console.error('err'); return args";
    for n in 0..3_u8 {
        let prepared = rig.prepare(kept("noisy", code)).await;
        let (sender, mut events) = mpsc::channel(64);
        let args = json!({ "n": n }).to_string();
        let finished = prepared.run(args.into(), sender, CancellationToken::new()).await;
        assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
        assert_eq!(finished.stdout.to_text().matches("call").count(), 1);
        assert_eq!(finished.stderr.to_text().matches("err").count(), 1);
        // The intervals of earlier calls still run, and speak for nobody.
        while let Some(said) = events.recv().await {
            assert!(
                matches!(&said, JobEvent::Progress(report) if report.progress == f64::from(n)),
                "{said:?}"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.finish().await;
}

async fn a_throw_keeps_the_sandbox_and_worse_does_not(on: On) {
    let rig = on.start().await;
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1;
        if (args.do === 'throw') throw new Error('thrown');
        if (args.do === 'loop') for (;;) {}
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
        ("crash", Outcome::Threw),
        ("bomb", Outcome::OutOfMemory),
    ] {
        failure(&call(what).await, outcome);
        assert_eq!(result(&call("count").await), 1, "after {what}");
    }
    rig.finish().await;
}

async fn a_sandbox_is_replaced_after_its_uses(on: On) {
    let twice = KeptConfig {
        max_uses: 2,
        ..KeptConfig::default()
    };
    let rig = on.keeping(twice).await;
    let mut counted = Vec::new();
    for _ in 0..4 {
        counted.push(placed(&rig, kept("count", COUNT)).await.1);
    }
    assert_eq!(counted, [1, 2, 1, 2]);
    rig.finish().await;
}

async fn a_sandbox_is_replaced_after_its_idle_time(on: On) {
    let briefly = KeptConfig {
        idle: Duration::from_millis(100),
        ..KeptConfig::default()
    };
    let rig = on.keeping(briefly).await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    let with_it = rig.sandboxes().await;
    eventually("an idle sandbox goes", async || {
        let left = rig.sandboxes().await;
        with_it.iter().any(|sandbox| !left.contains(sandbox))
    })
    .await;
    assert_eq!(placed(&rig, kept("count", COUNT)).await.1, 1);
    rig.finish().await;
}

async fn concurrent_calls_have_a_sandbox_each(on: On) {
    let rig = on.start().await;
    let slow = "await new Promise((r) => setTimeout(r, 300)); return 1";
    let (first, second) = tokio::join!(
        rig.run(kept("slow", slow), json!({})),
        rig.run(kept("slow", slow), json!({}))
    );
    assert_eq!((result(&first), result(&second)), (json!(1), json!(1)));
    rig.finish().await;
}

async fn a_module_that_cannot_be_loaded_fails_each_call_alike(on: On) {
    let rig = on.start().await;
    for _ in 0..2 {
        let finished = rig.run(kept("broken", "return ("), json!({})).await;
        let message = failure(&finished, Outcome::Threw);
        assert!(message.to_lowercase().contains("unexpected token"), "{message}");
        assert!(message.contains("'}'"), "{message}");
    }
    rig.finish().await;
}

async fn isolation_tool_without_a_hash_is_refused(on: On) {
    let rig = on.start().await;
    let job = Job {
        content_hash: None,
        revision: 0,
        ..kept("x", "return 1")
    };
    assert_eq!(rig.refusal(job).await.reason, RejectReason::Unsupported);
    rig.finish().await;
}
