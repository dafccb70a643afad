//! Shell commands: what they find, what is told of them, and how they end.

use std::time::{Duration, Instant};

use dynamic_mcp_proto::v1;
use dynamic_mcp_shared::job::{Job, SessionTask};
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::{Value, json};

use super::rig::{SessionRig, background, commands, cut_short, reports};
use crate::rig::{eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_in_order_in_a_workspace_that_stays_and_stop_at_the_first_that_fails() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let many = [
        "echo one > file; pwd",
        "cat file; echo why >&2; exit 3",
        "echo never",
    ];
    let result = reports(&sandbox.run(sandbox.job(commands(&many))).await);
    assert_eq!(result["skipped"], 1);
    let told: Vec<_> = result["commands"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["exitCode"], &told[0]["stdout"]),
        (&json!(0), &json!("/workspace\n"))
    );
    assert_eq!(
        (&told[1]["exitCode"], &told[1]["stdout"], &told[1]["stderr"]),
        (&json!(3), &json!("one\n"), &json!("why\n"))
    );
    assert_eq!(
        (&told[1]["command"], &told[1]["signal"]),
        (&json!(many[1]), &Value::Null)
    );

    let task = SessionTask::Commands {
        commands: vec!["false".to_owned(), "cat file".to_owned()],
        continue_on_error: true,
        background: None,
    };
    let result = reports(&sandbox.run(sandbox.job(task)).await);
    assert_eq!(
        (&result["commands"][1]["stdout"], &result["skipped"]),
        (&json!("one\n"), &json!(0))
    );

    // What a command finds of itself: nothing on stdin, no privileges, and the last place when something has to give.
    let found = sandbox
        .sh("cat; id -u; nice; cat /proc/self/oom_score_adj; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
        .await;
    assert_eq!(
        found["stdout"],
        "1000\n10\n1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"
    );
    assert_eq!(sandbox.sh("kill -9 $$").await["signal"], "SIGKILL");
    let arguments = sandbox
        .sh("# secret words\nfor of in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $of; done; echo $# $0")
        .await;
    let shown = arguments["stdout"].as_str().unwrap();
    assert!(shown.ends_with("0 /bin/sh\n"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_told_as_it_comes_and_kept_within_its_cap() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let waits = "echo now; until [ -e go ]; do sleep 0.05; done; echo later >&2";
    let mut running = sandbox
        .begin(sandbox.job(commands(&["true", waits])))
        .await
        .unwrap();
    let first = running.first_output().await;
    assert_eq!((&first.data[..], first.command), (&b"now\n"[..], 1));
    assert_eq!(sandbox.sh("touch go").await["exitCode"], 0);
    let (_, printed) = running.end_and_output().await;
    assert_eq!(printed[0].stream(), v1::OutputStream::Stderr);

    let capped = Job {
        max_output_bytes: 1_000,
        ..sandbox.job(commands(&["seq 1 100000; echo the end"]))
    };
    let mut running = sandbox.begin(capped).await.unwrap();
    let (finished, printed) = running.end_and_output().await;
    let told: usize = printed.iter().map(|output| output.data.len()).sum();
    assert!(told <= 1_000, "{told}");
    let report = &reports(&finished)["commands"][0];
    let stdout = report["stdout"].as_str().unwrap();
    assert!(
        stdout.starts_with("1\n2\n") && stdout.ends_with("100000\nthe end\n"),
        "{stdout}"
    );
    assert_eq!(report["stdoutTruncatedBytes"], 588_895 + 8 - 1_000);
    assert_eq!(finished.stdout.total_bytes, 588_895 + 8);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_late_or_not_wanted_any_more_is_ended_and_the_session_goes_on() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let began = Instant::now();
    let late = sandbox.sh_within("echo said; sleep 600", 1_000).await;
    assert_eq!(late.stdout.to_text(), "said\n");
    let told = cut_short(&late, Outcome::TimedOut);
    assert_eq!(
        (&told["commands"][0]["stdout"], &told["commands"][0]["timedOut"]),
        (&json!("said\n"), &json!(true))
    );
    assert!(began.elapsed() < Duration::from_secs(10));

    let mut cancelled = sandbox
        .begin(sandbox.job(commands(&["echo said; sleep 600"])))
        .await
        .unwrap();
    cancelled.first_output().await;
    cancelled.cancel().await;
    let finished = cancelled.end().await;
    assert_eq!(
        cut_short(&finished, Outcome::Cancelled)["commands"][0]["killed"],
        true
    );

    let mut broken = sandbox
        .begin(sandbox.job(commands(&["echo said; sleep 601"])))
        .await
        .unwrap();
    broken.first_output().await;
    drop(broken);
    let left = "ls -l /proc/[0-9]*/exe | grep -c sleep || true";
    eventually("no sleep is left", async || {
        sandbox.sh(left).await["stdout"] == "0\n"
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_the_background_goes_on_until_it_ends_or_is_killed() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let (id, task) = background("echo begun; until [ -e go ]; do sleep 0.05; done; echo done; exit 7");
    let answer = reports(&sandbox.run(sandbox.job(task)).await);
    assert_eq!(answer, json!({"commandId": id.as_str(), "state": "running"}));
    assert_eq!(sandbox.get(&id).await.unwrap().state(), v1::CommandState::Running);
    sandbox.sh("touch go").await;
    eventually("it has ended", async || {
        sandbox.get(&id).await.unwrap().state() == v1::CommandState::Exited
    })
    .await;
    let status = sandbox.get(&id).await.unwrap();
    let told: Value = serde_json::from_slice(&status.commands_json).unwrap();
    assert_eq!(
        (&told[0]["exitCode"], &told[0]["stdout"]),
        (&json!(7), &json!("begun\ndone\n"))
    );
    assert!(status.ended_ms >= status.started_ms);
    // One that has ended stays as it ended.
    assert_eq!(sandbox.kill(&id).await.unwrap().state(), v1::CommandState::Exited);

    let (id, task) = background("echo begun; sleep 600");
    sandbox.run(sandbox.job(task)).await;
    let killed = sandbox.kill(&id).await.unwrap();
    assert_eq!(killed.state(), v1::CommandState::Killed);
    let told: Value = serde_json::from_slice(&killed.commands_json).unwrap();
    assert_eq!(told[0]["killed"], true);
    let unknown = dynamic_mcp_shared::ids::CommandId::generate();
    assert_eq!(sandbox.get(&unknown).await, None);
    assert_eq!(sandbox.kill(&unknown).await, None);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_runs_a_few_commands_at_once_and_refuses_more_without_harm() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let mut running = Vec::new();
    for _ in 0..8 {
        let one = sandbox.job(commands(&["until [ -e go ]; do sleep 0.1; done"]));
        running.push(sandbox.begin(one).await.unwrap());
    }
    let refused = sandbox
        .begin(sandbox.job(commands(&["true"])))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason(), v1::RejectReason::SessionBusy);
    let status = rig.node.status();
    assert_eq!((status.running, status.running_jobs.len()), (0, 8));
    // Files are no commands.
    assert_eq!(sandbox.write(&[("go", b"")]).await.written.len(), 1);
    for one in running {
        assert_eq!(reports(&one.end().await)["commands"][0]["exitCode"], 0);
    }
    let long = "x".repeat(100_001);
    let refused = sandbox
        .begin(sandbox.job(commands(&[&long])))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason(), v1::RejectReason::Unsupported);
    let job = within(sandbox.job(commands(&["echo again"])), 5_000);
    assert_eq!(
        reports(&sandbox.run(job).await)["commands"][0]["stdout"],
        "again\n"
    );
    rig.finish().await;
}
