//! Who is not let in, and what does not even start.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::certificates::{Authority, Side};
use dynamic_mcp_tests::process::command;
use dynamic_mcp_tests::server::{ControlPlane, Executor, JOIN_TOKEN};
use dynamic_mcp_tests::state::State;

use super::{NOT_JOINED, Scene, settings};

/// What a program says that does not start.
async fn refused(program: &'static str, settings: &[(&str, &str)]) -> Result<String> {
    let state = State::new()?;
    refused_in(&state, program, settings).await
}

async fn refused_in(state: &State, program: &'static str, settings: &[(&str, &str)]) -> Result<String> {
    let mut command = command(program)?;
    command
        .current_dir(state.path())
        .env("MCP_STATE_DIR", state.path())
        .env("MCP_EXECUTOR_STATE_DIR", state.path())
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
    let Output { status, stderr, .. } = output.with_context(|| format!("with {settings:?} it went on"))??;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "with {settings:?} it started: {said}");
    Ok(said)
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

#[tokio::test]
async fn an_executor_of_another_authority_is_refused_and_refuses_that_control_plane() -> Result<()> {
    let scene = Scene::start().await?;
    let other = Authority::new().await?;
    other.executor("exe_one").await?;
    let stranger = Side::of(&other, "exe_one")?;
    let why = scene.refusal(&stranger, &[]).await?;
    assert_says(&why, &["of no authority in MCP_TLS_CA_FILE"]);

    // One that believes in the control plane is not believed in.
    stranger.give(
        &format!("{}{}", other.bundle()?, scene.authority.bundle()?),
        &other,
        "exe_one",
    )?;
    let why = scene.refusal(&stranger, &[]).await?;
    assert_says(&why, &["trusts no authority of this side's certificate"]);
    scene.control.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_executor_without_a_certificate_does_not_get_in_by_the_join_token() -> Result<()> {
    let mut scene = Scene::start_with(&[("MCP_JOIN_TOKEN", JOIN_TOKEN)]).await?;
    let url = scene.control.fleet_url.replacen("https://", "http://", 1);
    let control = [
        ("MCP_CONTROL_PLANE_URL", url.as_str()),
        ("MCP_JOIN_TOKEN", JOIN_TOKEN),
    ];
    let mut executor = Executor::begin_in(State::new()?, &scene.control, &control)?;
    executor.process.logged(NOT_JOINED).await?;
    // It is for want of that, and not of anything else.
    let line = scene.control.process.logged("a connection was refused").await?;
    assert_says(&line.to_string(), &["it does not speak TLS"]);
    executor.stop().await;
    scene.control.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_executor_with_a_certificate_needs_the_join_token_where_there_is_one() -> Result<()> {
    let scene = Scene::start_with(&[("MCP_JOIN_TOKEN", JOIN_TOKEN)]).await?;
    let side = scene.side("exe_one").await?;
    assert_says(&scene.refusal(&side, &[]).await?, &["needs the join token"]);
    let settings = settings(&side, &[("MCP_JOIN_TOKEN", JOIN_TOKEN)]);
    Executor::start(&scene.control, &settings).await?.stop().await;
    scene.control.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_impostor_in_the_control_planes_place_gets_no_executor() -> Result<()> {
    let scene = Scene::start().await?;
    let other = Authority::new().await?;
    other.control_plane().await?;
    let side = Side::of(&other, "control-plane")?;
    side.give(
        &format!("{}{}", other.bundle()?, scene.authority.bundle()?),
        &other,
        "control-plane",
    )?;
    let impostor = ControlPlane::start(&settings(&side, &[])).await?;
    let executor = scene.side("exe_one").await?;
    let mut begun = Executor::begin_in(State::new()?, &impostor, &settings(&executor, &[]))?;
    let line = begun.process.logged(NOT_JOINED).await?;
    assert_says(&line["why"].to_string(), &["of no authority in MCP_TLS_CA_FILE"]);
    begun.stop().await;
    impostor.stop().await;
    scene.control.stop().await;
    Ok(())
}

#[tokio::test]
async fn nobody_starts_with_the_certificate_of_somebody_else() -> Result<()> {
    let authority = Authority::new().await?;
    authority.control_plane().await?;
    authority.executor("exe_one").await?;
    let control_plane = Side::of(&authority, "control-plane")?;
    let executor = Side::of(&authority, "exe_one")?;

    let bind = [("MCP_FLEET_BIND", "127.0.0.1:0")];
    let said = refused("dynamic-mcp", &settings(&executor, &bind)).await?;
    assert_says(
        &said,
        &["MCP_TLS_CERT_FILE", "executor exe_one's", "the control plane's"],
    );

    let said = refused("dynamic-mcp-executor", &settings(&control_plane, &[])).await?;
    assert_says(
        &said,
        &["MCP_TLS_CERT_FILE", "the control plane's", "an executor's"],
    );

    let elsewhere = [("MCP_EXECUTOR_ADVERTISE", "https://executor-2:8790")];
    let said = refused("dynamic-mcp-executor", &settings(&executor, &elsewhere)).await?;
    assert_says(&said, &["127.0.0.1, and not for executor-2", "--host executor-2"]);

    let state = State::new()?;
    std::fs::create_dir_all(state.path().join("executors/exe_two"))?;
    let said = refused_in(&state, "dynamic-mcp-executor", &settings(&executor, &[])).await?;
    assert_says(&said, &["exe_one", "--id exe_two", "MCP_EXECUTOR_STATE_DIR"]);
    Ok(())
}

#[tokio::test]
async fn plaintext_beyond_this_machine_does_not_start_and_says_what_to_do() -> Result<()> {
    let what_to_do = ["dynamic-mcp certs", "MCP_TLS_CERT_FILE", "--insecure"];
    let token = ("MCP_JOIN_TOKEN", JOIN_TOKEN);
    let said = refused("dynamic-mcp", &[token, ("MCP_FLEET_BIND", "0.0.0.0:0")]).await?;
    assert_says(&said, &["MCP_FLEET_BIND"]);
    assert_says(&said, &what_to_do);
    for (setting, value) in [
        ("MCP_EXECUTOR_BIND", "0.0.0.0:0"),
        ("MCP_EXECUTOR_ADVERTISE", "http://10.0.0.1:8790"),
        ("MCP_CONTROL_PLANE_URL", "http://control-plane:8789"),
    ] {
        let said = refused("dynamic-mcp-executor", &[token, (setting, value)]).await?;
        assert_says(&said, &[setting]);
        assert_says(&said, &what_to_do);
    }
    Ok(())
}

#[tokio::test]
async fn plaintext_beyond_this_machine_is_there_for_who_asks_for_it() -> Result<()> {
    let insecure = ("MCP_FLEET_INSECURE", "true");
    let isolate = dynamic_mcp_tests::on::On::Isolate.settings();
    let everywhere = [("MCP_FLEET_BIND", "0.0.0.0:0"), insecure];
    let control = ControlPlane::start(&[&everywhere, isolate].concat()).await?;
    let url = control.fleet_url.replacen("0.0.0.0", "127.0.0.1", 1);
    let joining = [("MCP_CONTROL_PLANE_URL", url.as_str()), insecure];
    let executor = Executor::start(&control, &[&joining, isolate].concat()).await?;
    control.ready().await?;
    executor.stop().await;
    control.stop().await;
    Ok(())
}
