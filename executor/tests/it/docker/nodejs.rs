//! What a tool can rely on because Node.js runs it.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;

use super::rig::DockerRig;
use crate::rig::{failure, job, kept, result};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builtins_can_be_imported_and_required() {
    let rig = DockerRig::start().await;
    let code =
        "const os = await import('node:os'); return [typeof os.cpus, typeof require('node:fs').readFileSync]";
    assert_eq!(result(&rig.call(code).await), json!(["function", "function"]));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_container_goes_back_to_the_pool() {
    let rig = DockerRig::start().await;
    let warm = || -> u32 { rig.engine.status().images.iter().map(|image| image.warm).sum() };
    let before = warm();
    drop(rig.prepare(job("return 1")).await);
    assert!(warm() >= before);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_child_process_prints_late_is_not_the_next_calls_output() {
    let rig = DockerRig::start().await;
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
async fn a_container_whose_process_ended_is_not_kept() {
    let rig = DockerRig::start().await;
    let code = "globalThis.calls = (globalThis.calls ?? 0) + 1; if (args.exit) process.exit(1); return globalThis.calls";
    let call = async |exit: bool| rig.run(kept("ending", code), json!({ "exit": exit })).await;
    assert_eq!(result(&call(false).await), 1);
    failure(&call(true).await, Outcome::Threw);
    assert_eq!(result(&call(false).await), 1);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_those_of_the_body_and_the_line_at_fault_is_shown() {
    let rig = DockerRig::start().await;
    for (code, stack) in [
        (
            "const x = 1;\n\n  throw new TypeError('no ' + x);",
            "TypeError: no 1\n    at run (tool.mjs:3:9)",
        ),
        (
            "throw new Error('first line')",
            "Error: first line\n    at run (tool.mjs:1:7)",
        ),
    ] {
        let error = rig.call(code).await.error.unwrap();
        assert_eq!(error.stack, stack);
    }
    let error = rig.call("const a = 1;\nlet b = ;\nreturn a").await.error.unwrap();
    assert!(
        error.stack.starts_with("tool.mjs:2\nlet b = ;\n"),
        "{}",
        error.stack
    );
    rig.finish().await;
}
