//! Commands that try to keep a session's owner from ruling it, or to harm anybody else.

use std::time::{Duration, Instant};

use dynamic_mcp_proto::v1;
use dynamic_mcp_shared::outcome::Outcome;

use super::rig::{Sandbox, SessionRig, background, commands, cut_short};
use crate::rig::{eventually, failure};

/// What an owner does while something hostile runs; none of it waits for that.
async fn assert_ruled(sandbox: &Sandbox) {
    let began = Instant::now();
    assert_eq!(sandbox.list("", false, 10).await.problem, None);
    assert_eq!(sandbox.write(&[("ruled", b"x")]).await.problems, []);
    assert_eq!(sandbox.read(&["ruled"]).await[0].as_ref().unwrap(), b"x");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_end_with_their_command_and_the_session_goes_on() {
    let rig = SessionRig::start().await;
    let (sandbox, neighbour) = (rig.open().await, rig.open().await);
    let burn = "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait";
    let fork_bomb = "bomb() { bomb | bomb & }; bomb; sleep 600";
    let escapes =
        "for i in 1 2 3; do setsid sh -c 'env -i sh -c \"while :; do sleep 0.01; done\" &' & done; sleep 600";
    for hostile in [burn, fork_bomb, "yes", escapes, "kill -STOP 0; sleep 600"] {
        let (id, task) = background(hostile);
        sandbox.run(sandbox.job(task)).await;
        assert_ruled(&sandbox).await;
        assert_eq!(neighbour.sh("echo unharmed").await["stdout"], "unharmed\n");
        let began = Instant::now();
        let killed = sandbox.kill(&id).await.unwrap();
        assert_eq!(killed.state(), v1::CommandState::Killed, "{hostile}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let left = sandbox.sh("ls -d /proc/[0-9]* | wc -l").await;
        let left: usize = left["stdout"].as_str().unwrap().trim().parse().unwrap();
        assert!(left <= 6, "{left} processes are left of {hostile}");
    }
    let late = sandbox.sh_within(fork_bomb, 1_000).await;
    cut_short(&late, Outcome::TimedOut);
    let eats = "node -e 'const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))'";
    let eaten = sandbox.sh(eats).await;
    assert_eq!(eaten["outOfMemory"], true, "{eaten}");
    assert_eq!(sandbox.sh("echo fine").await["stdout"], "fine\n");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_burns_its_processor_is_stopped_at_once() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let (_, task) = background("bomb() { bomb | bomb & }; bomb; while :; do :; done");
    sandbox.run(sandbox.job(task)).await;
    let began = Instant::now();
    assert_eq!(rig.node.status().sandboxes.len(), 1);
    assert!(sandbox.stop().await);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!sandbox.stop().await);
    eventually("its container is gone", async || {
        rig.containers().await.is_empty()
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_kills_the_agent_or_speaks_for_it_has_ended_their_own_session() {
    let rig = SessionRig::start().await;
    let neighbour = rig.open().await;
    for hostile in [
        "kill -9 $PPID",
        "echo 'what no agent says' > /proc/$PPID/fd/4; sleep 600",
        "head -c 100000000 /dev/urandom > /proc/$PPID/fd/4; sleep 600",
    ] {
        let sandbox = rig.open().await;
        let finished = sandbox.run(sandbox.job(commands(&[hostile]))).await;
        failure(&finished, Outcome::Interrupted);
        let refused = async || sandbox.begin(sandbox.job(commands(&["true"]))).await.err();
        eventually("the session is lost", async || {
            refused()
                .await
                .is_some_and(|refused| refused.reason() == v1::RejectReason::SessionLost)
        })
        .await;
        assert!(!sandbox.stop().await);
        assert_eq!(neighbour.sh("echo unharmed").await["stdout"], "unharmed\n");
    }
    eventually("their containers are gone", async || {
        rig.containers().await.len() == 1
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_stopped_is_given_up_with_its_session() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let late = sandbox.sh_within("kill -STOP $PPID; sleep 600", 1_000).await;
    failure(&late, Outcome::Interrupted);
    eventually("its container is gone", async || {
        rig.containers().await.is_empty()
    })
    .await;
    assert_eq!(rig.node.status().sandboxes, []);
    rig.finish().await;
}
