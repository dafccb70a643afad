//! How sessions come and go, and whose they are.

use std::time::Duration;

use dynamic_mcp_executor::sandbox::SandboxLimits;
use dynamic_mcp_proto::v1;
use dynamic_mcp_shared::ids::SandboxId;
use dynamic_mcp_shared::job::SessionWork;
use dynamic_mcp_shared::outcome::Outcome;
use tonic::Code;

use super::rig::{Sandbox, SessionRig, background, commands};
use crate::rig::{eventually, failure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_somebody_else_is_as_one_that_never_was() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let announced = rig.node.status();
    assert_eq!(announced.sandbox_slots, 4);
    assert_eq!(announced.sandboxes[0].id, sandbox.id());
    assert_eq!(announced.sandboxes[0].owner, "anna");

    let wire = sandbox.wire.clone();
    let others = [
        v1::SandboxRef {
            owner: "bert".to_owned(),
            ..wire.clone()
        },
        v1::SandboxRef {
            tenant: "other".to_owned(),
            ..wire.clone()
        },
        v1::SandboxRef {
            epoch: wire.epoch + 1,
            ..wire.clone()
        },
        v1::SandboxRef {
            session_id: SandboxId::generate().into(),
            ..wire.clone()
        },
        v1::SandboxRef {
            session_id: "no id".to_owned(),
            ..wire.clone()
        },
    ];
    let mut answers = Vec::new();
    for other in others {
        let theirs = Sandbox {
            wire: other,
            ..sandbox.clone()
        };
        let request = v1::GetCommandRequest {
            sandbox: Some(theirs.wire.clone()),
            command_id: "cmd_1".to_owned(),
        };
        let refused = theirs.client().get_command(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        answers.push(refused.message().to_owned());
        assert!(!theirs.stop().await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);

    let of_another_life = {
        let mut job = sandbox.job(commands(&["true"]));
        job.session = job.session.map(|work| SessionWork {
            epoch: work.epoch + 1,
            ..work
        });
        job
    };
    let of_another_tenant = {
        let mut job = sandbox.job(commands(&["true"]));
        job.tenant = "other".parse().unwrap();
        job
    };
    let of_somebody_else = {
        let mut job = sandbox.job(commands(&["true"]));
        job.session = job.session.map(|work| SessionWork {
            owner: "bert".to_owned(),
            ..work
        });
        job
    };
    for job in [of_another_life, of_another_tenant, of_somebody_else] {
        let refused = sandbox.begin(job).await.err().unwrap();
        assert_eq!(refused.reason(), v1::RejectReason::SessionLost);
    }
    assert_eq!(sandbox.sh("echo here").await["stdout"], "here\n");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_sessions_as_there_may_be_and_an_idle_one_ends() {
    let rig = SessionRig::with(SandboxLimits {
        slots: 2,
        ..SandboxLimits::default()
    })
    .await;
    let idle = v1::OpenSandboxRequest {
        idle_seconds: 2,
        ..rig.request()
    };
    let short = v1::OpenSandboxRequest {
        max_seconds: 6,
        ..rig.request()
    };
    let (idle, short) = (
        rig.open_as(idle).await.unwrap(),
        rig.open_as(short).await.unwrap(),
    );
    let refused = rig.open_as(rig.request()).await.err().unwrap();
    assert_eq!(refused.reason(), v1::RejectReason::NoCapacity);
    assert!(
        refused.message.contains("MCP_SANDBOX_SESSION_SLOTS"),
        "{}",
        refused.message
    );
    // A command that runs is use.
    assert_eq!(idle.sh("sleep 4; echo done").await["stdout"], "done\n");
    let there = |sandbox: &Sandbox| {
        let id = sandbox.id();
        rig.node.status().sandboxes.iter().any(|session| session.id == id)
    };
    assert!(there(&idle));
    // Its greatest age ends a session whatever it does.
    let (_, task) = background("sleep 600");
    let _lost_or_too_late = short.begin(short.job(task)).await;
    eventually("both have ended", async || !there(&idle) && !there(&short)).await;
    eventually("their containers are gone", async || {
        rig.containers().await.is_empty()
    })
    .await;
    assert!(rig.open_as(rig.request()).await.is_ok());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_killed_from_outside_is_a_session_lost() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let mut running = sandbox
        .begin(sandbox.job(commands(&["echo said; sleep 600"])))
        .await
        .unwrap();
    running.first_output().await;
    rig.docker.kill_all_sandboxes().await;
    failure(&running.end().await, Outcome::Interrupted);
    eventually("it is gone", async || rig.node.status().sandboxes.is_empty()).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_what_runs_has_its_grace_and_no_session_is_opened() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let mut running = sandbox
        .begin(sandbox.job(commands(&[
            "echo begun; until [ -e go ]; do sleep 0.05; done; echo done",
        ])))
        .await
        .unwrap();
    running.first_output().await;
    rig.lifecycle.begin_shutdown();
    eventually("it drains", async || rig.node.status().draining).await;
    let refused = rig.open_as(rig.request()).await.err().unwrap();
    assert_eq!(refused.reason(), v1::RejectReason::Draining);
    assert_eq!(sandbox.sh("touch go").await["exitCode"], 0);
    assert_eq!(running.end().await.stdout.to_text(), "begun\ndone\n");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_the_background_outlasts_its_grace_and_ends_with_the_executor() {
    let rig = SessionRig::start().await;
    let sandbox = rig.open().await;
    let (_, task) = background("sleep 600");
    sandbox.run(sandbox.job(task)).await;
    rig.lifecycle.begin_shutdown();
    let cut_short = tokio::time::timeout(Duration::from_secs(60), rig.lifecycle.finish());
    assert!(cut_short.await.unwrap());
    rig.docker.finish().await;
}
