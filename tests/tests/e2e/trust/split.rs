//! The walk-through of the README: certificates for a whole deployment, a control plane, two executors.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::certificates::{Authority, Side};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::now;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use serde_json::json;

use super::{Scene, settings};

#[tokio::test]
async fn one_command_makes_what_a_control_plane_and_two_executors_need() -> Result<()> {
    let authority = Authority::new().await?;
    let printed = authority
        .certs(&[
            "all",
            "--control-plane=127.0.0.1,control-plane",
            "--executor=exe_one=127.0.0.1",
            "--executor=exe_two=localhost,127.0.0.1",
        ])
        .await?;
    assert!(
        printed.contains("executor exe_two at localhost, 127.0.0.1"),
        "{printed}"
    );
    let side = Side::of(&authority, "control-plane")?;
    let control = ControlPlane::start(&settings(&side, &[])).await?;
    assert!(control.fleet_url.starts_with("https://"), "{}", control.fleet_url);
    let mut executors = Vec::new();
    for id in ["exe_one", "exe_two"] {
        let side = Side::of(&authority, id)?;
        let executor = Executor::start(&control, &settings(&side, &[])).await?;
        assert_eq!(
            executor.state().executor()?,
            id,
            "its id is not its certificate's"
        );
        executors.push((side, executor));
    }
    control.ready().await?;
    let client = control.client(Era::Modern).await?;
    client
        .create_tool("double", "return args.n * 2;", json!({}))
        .await?;
    for n in 0..8 {
        let answer = client.structured("double", json!({"args": {"n": n}})).await?;
        assert_eq!(answer["result"], n * 2, "{answer}");
    }
    let fleet = client.structured("system.runtime_config", json!({})).await?;
    let fleet = &fleet["fleet"];
    assert_eq!(fleet["joinToken"], "unset", "{fleet}");
    assert!(fleet["tls"]["certFile"].is_string(), "{fleet}");
    for (_, executor) in executors {
        executor.stop().await;
    }
    control.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_executor_that_was_killed_comes_back_as_the_one_of_its_certificate() -> Result<()> {
    let scene = Scene::start().await?;
    let side = scene.side("exe_one").await?;
    let state = scene.executor(&side).await?.kill().await;
    let executor = Executor::start_in(state, &scene.control, &settings(&side, &[])).await?;
    assert_eq!(executor.state().executor()?, "exe_one");
    scene.control.ready().await?;
    let client = scene.control.client(Era::Modern).await?;
    let answer = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(answer["result"], 1);
    executor.stop().await;
    scene.control.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_metrics_and_readyz_say_how_it_stands_with_the_certificate() -> Result<()> {
    let scene = Scene::start().await?;
    let side = scene.side("exe_one").await?;
    let executor = scene.executor(&side).await?;
    scene.control.ready().await?;
    let base_url = &scene.control.base_url;
    let metrics = reqwest::get(format!("{base_url}/metrics")).await?.text().await?;
    let expires_at = metrics
        .lines()
        .find_map(|line| line.strip_prefix("dynamic_mcp_certificate_expires_at_seconds "))
        .with_context(|| metrics.clone())?;
    let days = (expires_at.parse::<f64>()? - now() as f64) / 86_400.0;
    assert!((364.0..=365.0).contains(&days), "{days} days");

    let good = std::fs::read(scene.side.certificate())?;
    std::fs::write(scene.side.certificate(), "no certificate")?;
    let until = async |degraded: bool| {
        eventually(Duration::from_secs(30), async || {
            let report: serde_json::Value = reqwest::get(format!("{base_url}/readyz")).await?.json().await?;
            let why = report["degraded"]["certificates"].as_str();
            ensure!(report["ready"] == true && why.is_some() == degraded, "{report}");
            ensure!(
                why.is_none_or(|why| why.contains("MCP_TLS_CERT_FILE")),
                "{report}"
            );
            Ok(())
        })
        .await
    };
    until(true).await;
    let client = scene.control.client(Era::Modern).await?;
    let answer = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(answer["result"], 1, "the old certificate is used on");
    std::fs::write(scene.side.certificate(), good)?;
    until(false).await;
    executor.stop().await;
    scene.control.stop().await;
    Ok(())
}
