//! A broker that is killed takes everything along. It is this program again, in the part of the broker.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::memory::group;
use crate::processes::{descendants, send};
use crate::rig::{Rig, eventually, run};

const PART: &str = "ISOLATE_TEST_BROKER";

/// Does nothing but for the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_broker_that_is_killed() {
    if std::env::var_os(PART).is_none() {
        return;
    }
    let rig = Rig::start().await;
    let busy = rig.prepare("for (;;) {}", 60_000).await;
    let _kept_waiting = rig.prepare("return 1", 60_000).await;
    run(busy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_nothing() {
    let mut broker = Command::new("/proc/self/exe")
        .args(["--exact", "broker::part_of_a_broker_that_is_killed"])
        .env(PART, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(broker.id()).unwrap();
    eventually("a busy child", async || descendants(pid).len() >= 5).await;
    sleep(Duration::from_millis(200)).await;
    let below = descendants(pid);
    let memory = below.first().and_then(|keeper| group(*keeper));
    send(pid, Signal::SIGKILL);
    broker.wait().unwrap();
    eventually("everything below it is gone", async || {
        below
            .iter()
            .all(|pid| !std::fs::exists(format!("/proc/{pid}")).unwrap())
    })
    .await;
    // But a control group, if it had one: nobody was there to remove it. The next start does, be it another test's.
    if let Some(left) = memory {
        let rig = Rig::start().await;
        assert!(!left.exists(), "{left:?}");
        rig.finish().await;
    }
}
