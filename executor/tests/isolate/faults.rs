//! Processes that die or stop, at each stage of a call.

use std::time::Duration;

use dynamic_mcp_shared::job::Finished;
use dynamic_mcp_shared::outcome::Outcome;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::processes::{isolates, keepers, send, zygotes};
use crate::rig::{Rig, eventually, run};

const LONG: &str = "await new Promise((r) => setTimeout(r, 8_000)); return 1";

/// What a running call is told when `fault` happens to the machine's processes.
async fn hit(rig: &Rig, fault: impl FnOnce()) -> (Finished, Duration) {
    let prepared = rig.prepare(LONG, 10_000).await;
    let began = Instant::now();
    let fault = async {
        sleep(Duration::from_millis(300)).await;
        fault();
    };
    let (finished, ()) = tokio::join!(run(prepared), fault);
    (finished, began.elapsed())
}

fn kill_all(pids: Vec<i32>) {
    for pid in pids {
        send(pid, Signal::SIGKILL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_killed_interrupts_its_call_and_no_other() {
    let rig = Rig::start().await;
    let (finished, took) = hit(&rig, || kill_all(isolates())).await;
    assert_eq!(finished.outcome, Outcome::Interrupted, "{:?}", finished.error);
    let message = finished.error.unwrap().message;
    assert_eq!(message, "the sandbox was killed, by its code or from outside");
    assert!(took < Duration::from_secs(10), "{took:?}");
    rig.assert_works().await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zygote_that_is_killed_interrupts_what_runs_and_is_replaced() {
    for victims in [zygotes as fn() -> Vec<i32>, keepers] {
        let rig = Rig::start().await;
        let (finished, took) = hit(&rig, || kill_all(victims())).await;
        assert_eq!(finished.outcome, Outcome::Interrupted, "{:?}", finished.error);
        assert!(took < Duration::from_secs(10), "{took:?}");
        rig.assert_works().await;
        rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_only_prepared_runs_in_another_child() {
    for victims in [zygotes as fn() -> Vec<i32>, isolates] {
        let rig = Rig::start().await;
        let prepared = rig.prepare("return 7", 10_000).await;
        kill_all(victims());
        sleep(Duration::from_millis(200)).await;
        let finished = run(prepared).await;
        assert_eq!(
            finished.result.as_deref(),
            Some(&b"7"[..]),
            "{:?}",
            finished.error
        );
        rig.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_child_has_read_runs_in_another_child() {
    let rig = Rig::start().await;
    let prepared = rig.prepare("return 7", 10_000).await;
    let stopped = isolates();
    for pid in &stopped {
        send(*pid, Signal::SIGSTOP);
    }
    let doom = async {
        sleep(Duration::from_millis(300)).await;
        kill_all(stopped);
    };
    let (finished, ()) = tokio::join!(run(prepared), doom);
    assert_eq!(
        finished.result.as_deref(),
        Some(&b"7"[..]),
        "{:?}",
        finished.error
    );
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zygote_that_stops_holds_no_deadline_up_and_is_ended() {
    let rig = Rig::start().await;
    let prepared = rig.prepare("for (;;) {}", 1_000).await;
    let stopped = zygotes();
    for pid in &stopped {
        send(*pid, Signal::SIGSTOP);
    }
    let finished = run(prepared).await;
    assert_eq!(finished.outcome, Outcome::TimedOut);
    assert!(
        finished.usage.duration < Duration::from_secs(5),
        "{:?}",
        finished.usage
    );
    rig.assert_works().await;
    eventually("the stopped one is gone", async || {
        zygotes().iter().all(|pid| !stopped.contains(pid))
    })
    .await;
    rig.finish().await;
}
