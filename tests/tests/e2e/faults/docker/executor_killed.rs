//! Kill -9 of an executor, at each stage of a call.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::docker::{processes_in, running_containers_of};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use futures::future::join_all;
use serde_json::json;

use super::WITHOUT_POOL;
use crate::faults::{FOR_EVER, SOON, until_active, until_left, until_made, until_running};

/// One call takes it whole, so that two calls are on two executors.
const ONE_SLOT: (&str, &str) = ("MCP_SANDBOX_SLOTS", "1");

#[tokio::test]
async fn a_running_call_is_interrupted_and_another_executors_call_goes_on() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let settings = [&WITHOUT_POOL[..], &[ONE_SLOT]].concat();
    let doomed = Executor::start(&control, &settings).await?;
    let doomed_id = doomed.state().executor()?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("endless", FOR_EVER, json!({})).await?;
    let three_seconds =
        "ctx.progress(1); await new Promise((resolve) => setTimeout(resolve, 3000)); return 'went on';";
    client.create_tool("lasting", three_seconds, json!({})).await?;

    let endless = Running::start(&client, "endless", json!({})).await?;
    let other = Executor::start(&control, &settings).await?;
    let lasting = Running::start(&client, "lasting", json!({})).await?;

    let killed = Instant::now();
    let state = doomed.kill().await;
    let ended = endless.structured().await?;
    let took = killed.elapsed();
    measured(format!("interrupted {took:?} after the kill"));
    assert_eq!(ended["outcome"], "interrupted", "{ended}");
    let error = ended["error"].as_str().unwrap_or_default();
    assert!(
        error.contains(&doomed_id) && error.contains("may have run"),
        "{error}"
    );
    assert!(took < Duration::from_secs(10), "told only after {took:?}");

    let went_on = lasting.structured().await?;
    assert_eq!(
        (&went_on["outcome"], &went_on["result"]),
        (&json!("ok"), &json!("went on")),
        "{went_on}"
    );
    until_active(&client, 0, SOON).await;

    // The code loops for ever with nobody to stop it, until the executor's next life does.
    let successor_began = Instant::now();
    let successor = Executor::start_in(state, &control, &settings).await?;
    assert_eq!(successor.state().executor()?, doomed_id, "another id was taken");
    until_running(&doomed_id, 0, Duration::from_secs(10)).await;
    measured(format!(
        "the predecessor's containers were gone {:?} after the start",
        successor_began.elapsed()
    ));
    until_left(&doomed_id, 0, Duration::from_secs(10)).await;
    successor.stop().await;
    other.stop().await;
    control.stop().await;
    Ok(())
}

/// The executor hangs from before the calls were made, so nothing of them can have been started there.
#[tokio::test]
async fn a_call_that_was_never_started_runs_elsewhere() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let (mut hanging, healthy) = tokio::try_join!(
        Executor::start(&control, On::Docker.settings()),
        Executor::start(&control, On::Docker.settings())
    )?;
    let hanging_id = hanging.state().executor()?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("quick", "return args.n;", json!({})).await?;
    control.ready().await?;

    hanging.process.signal("STOP").await;
    let client = &client;
    let calls =
        join_all((0..6).map(async |n| (n, client.structured("quick", json!({"args": {"n": n}})).await)));
    let kill = async {
        // Those on the healthy one end; the others wait for the one that hangs.
        eventually(SOON, async || {
            let active = crate::faults::active(client).await?;
            ensure!((1..6).contains(&active), "{active} calls are active");
            Ok(())
        })
        .await;
        hanging.process.kill().await;
        Instant::now()
    };
    let (answers, killed) = tokio::join!(calls, kill);
    measured(format!(
        "all calls had ended {:?} after the kill",
        killed.elapsed()
    ));
    for (n, answer) in answers {
        let answer = answer?;
        assert_eq!(
            (&answer["outcome"], &answer["result"]),
            (&json!("ok"), &json!(n)),
            "{answer}"
        );
    }
    assert!(killed.elapsed() < SOON);
    let moved = control
        .process
        .log()
        .lines()
        .any(|line| line.contains("a node did not start the job") && line.contains(&hanging_id));
    assert!(
        moved,
        "no call had been placed on the executor that hung:\n{}",
        control.process.log()
    );

    let state = hanging.kill().await;
    Executor::start_in(state, &control, On::Docker.settings())
        .await?
        .stop()
        .await;
    healthy.stop().await;
    control.stop().await;
    Ok(())
}

/// Without another executor a call that never started says so.
#[tokio::test]
async fn the_only_executor_killed_before_the_start_leaves_never_started() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let mut executor = Executor::start(&control, &WITHOUT_POOL).await?;
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("quick", "return 1;", json!({})).await?;

    // So that the connection to it is there.
    client.structured("quick", json!({})).await?;
    executor.process.signal("STOP").await;
    let call = client.call("quick", json!({}));
    let kill = async {
        until_active(&client, 1, SOON).await;
        executor.process.kill().await;
        Instant::now()
    };
    let (answer, killed) = tokio::join!(call, kill);
    let ended = answer?["structuredContent"].clone();
    measured(format!("told {:?} after the kill: {ended}", killed.elapsed()));
    // Where the loss is noticed before the call is placed, it waits for an executor to join until it is refused.
    assert_eq!(ended["outcome"], "never_started", "{ended}");
    assert!(killed.elapsed() < SOON);
    control.stop().await;
    Ok(())
}

/// The control plane is held still while the sandbox gets ready, so that it finds the executor dead when it would start.
#[tokio::test]
async fn killed_between_ready_and_start_it_is_never_taken_for_a_success() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let executor = Executor::start(&control, &WITHOUT_POOL).await?;
    control.ready().await?;
    let id = executor.state().executor()?;
    let client = control.client(Era::Modern).await?;
    client.create_tool("quick", "return 1;", json!({})).await?;

    let call = client.call("quick", json!({}));
    let kill = async {
        // Seen in the Engine before the executor has said that it is ready.
        until_made(&id).await;
        control.process.signal("STOP").await;
        until_running(&id, 1, SOON).await;
        let state = executor.kill().await;
        control.process.signal("CONT").await;
        (Instant::now(), state)
    };
    let (answer, (resumed, state)) = tokio::join!(call, kill);
    let ended = answer?["structuredContent"].clone();
    measured(format!(
        "{} {:?} after the control plane went on",
        ended["outcome"],
        resumed.elapsed()
    ));
    let outcome = ended["outcome"].as_str().unwrap_or_default();
    assert!(["never_started", "interrupted"].contains(&outcome), "{ended}");
    assert!(resumed.elapsed() < SOON);

    let successor = Executor::start_in(state, &control, &WITHOUT_POOL).await?;
    until_running(&id, 0, Duration::from_secs(10)).await;
    successor.stop().await;
    control.stop().await;
    Ok(())
}

/// The code has ended, its result is on the way, and the executor never gets to tell it.
#[tokio::test]
async fn killed_while_finishing_it_is_interrupted() -> Result<()> {
    let control = ControlPlane::start(On::Docker.settings()).await?;
    let executor = Executor::start(&control, &WITHOUT_POOL).await?;
    control.ready().await?;
    let id = executor.state().executor()?;
    let client = control.client(Era::Modern).await?;
    let code = "const { spawn } = await import('node:child_process'); const child = spawn('/bin/sleep', ['1']); \
        ctx.progress(1); await new Promise((resolve) => child.on('exit', resolve)); return 'unheard';";
    client.create_tool("unheard", code, json!({})).await?;

    let call = Running::start(&client, "unheard", json!({})).await?;
    executor.process.signal("STOP").await;
    let sandbox = running_containers_of(&id).await?.pop().context("its sandbox")?;
    eventually(SOON, async || {
        let processes = processes_in(&sandbox).await?;
        let sleeps = processes.iter().any(|process| process.contains("/bin/sleep"));
        ensure!(!sleeps, "the code has not ended: {processes:?}");
        Ok(())
    })
    .await;
    let killed = Instant::now();
    let state = executor.kill().await;
    let ended = call.structured().await?;
    measured(format!("interrupted {:?} after the kill", killed.elapsed()));
    assert_eq!(ended["outcome"], "interrupted", "{ended}");
    assert!(killed.elapsed() < Duration::from_secs(10));

    let successor = Executor::start_in(state, &control, &WITHOUT_POOL).await?;
    until_running(&id, 0, Duration::from_secs(10)).await;
    successor.stop().await;
    control.stop().await;
    Ok(())
}
