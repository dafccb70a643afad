//! Certificates replaced beneath running calls, and then their authority.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::certificates::{Authority, Side};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::process::Process;
use dynamic_mcp_tests::server::Executor;
use serde_json::json;

use super::load::Load;
use super::{Scene, said, settings};

const REPLACED: &str = "the certificates were replaced";

/// Hands new files to a process and waits until it has taken them.
async fn replace(
    process: &Process,
    side: &Side,
    bundle: &str,
    authority: &Authority,
    name: &str,
) -> Result<()> {
    let before = said(process, REPLACED);
    side.give(bundle, authority, name)?;
    eventually(Duration::from_secs(30), async || {
        ensure!(said(process, REPLACED) > before, "not yet:\n{}", process.log());
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn certificates_and_then_their_authority_are_replaced_without_the_loss_of_a_call() -> Result<()> {
    let scene = Scene::start().await?;
    let (old, new) = (&scene.authority, Authority::new().await?);
    let side = scene.side("exe_one").await?;
    let executor = scene.executor(&side).await?;
    scene.control.ready().await?;
    let load = Load::start(&scene.control).await?;

    new.control_plane().await?;
    new.executor("exe_one").await?;
    let both = format!("{}{}", old.bundle()?, new.bundle()?);
    let alone = new.bundle()?;
    let steps = [
        (old.bundle()?, old),
        (both.clone(), old),
        (both, &new),
        (alone, &new),
    ];
    let mut newcomers = Vec::new();
    for (step, (bundle, authority)) in steps.into_iter().enumerate() {
        if step == 0 {
            old.control_plane().await?;
            old.executor("exe_one").await?;
        }
        replace(
            &scene.control.process,
            &scene.side,
            &bundle,
            authority,
            "control-plane",
        )
        .await?;
        replace(&executor.process, &side, &bundle, authority, "exe_one").await?;
        // Each step is good for connections that begin in it.
        let id = format!("exe_new-{step}");
        authority.executor(&id).await?;
        let files = Side::new()?;
        files.give(&bundle, authority, &id)?;
        let newcomer = Executor::start(&scene.control, &settings(&files, &[])).await?;
        newcomers.push((files, newcomer));
    }
    let calls = load.stop().await?;
    measured(format!(
        "{calls} calls went well over four replacements on both sides"
    ));
    assert!(calls > 20, "{calls} calls are too few to tell");

    let left_behind = scene.side("exe_left-behind").await?;
    left_behind.give(
        &format!("{}{}", old.bundle()?, new.bundle()?),
        old,
        "exe_left-behind",
    )?;
    let why = scene.refusal(&left_behind, &[]).await?;
    assert!(why.contains("trusts no authority"), "{why}");

    for (_, newcomer) in newcomers {
        newcomer.stop().await;
    }
    let state = executor.kill().await;
    let executor = Executor::start_in(state, &scene.control, &settings(&side, &[])).await?;
    let client = scene.control.client(Era::Modern).await?;
    let answer = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(
        answer["result"], 1,
        "over a connection of the new authority alone"
    );
    executor.stop().await;
    scene.control.stop().await;
    Ok(())
}
