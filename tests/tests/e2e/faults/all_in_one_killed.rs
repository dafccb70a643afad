//! Kill -9 of the server that runs everything, and its next life.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::docker::running_containers_of;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::processes::{Seen, descendants_of};
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

use super::{FOR_EVER, NO_POOL, until_readyz, until_running};

mod docker {
    #[tokio::test]
    async fn a_successor_removes_what_a_killed_server_left_and_knows_its_tools() -> anyhow::Result<()> {
        super::a_successor_removes_what_a_killed_server_left_and_knows_its_tools().await
    }
}

/// Nobody has to come and clean up: the kernel does.
#[tokio::test]
async fn no_isolate_outlives_its_killed_server() -> Result<()> {
    let server = AllInOne::start(On::Isolate.settings()).await?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("endless", FOR_EVER, json!({})).await?;
    client
        .create_tool("kept", "ctx.progress(1); for (;;);", json!({"isolation": "tool"}))
        .await?;
    let mut calls = Vec::new();
    for tool in ["endless", "endless", "kept"] {
        calls.push(Running::start(&client, tool, json!({})).await?);
    }
    let family = descendants_of(server.process.pid());
    // One that keeps the zygote, the zygote, and a child for each call.
    ensure!(family.len() >= 5, "{family:?}");

    let killed = Instant::now();
    let state = server.kill().await;
    let took = eventually(Duration::from_secs(5), async || {
        let left: Vec<_> = family.iter().filter(|process| process.is_alive()).collect();
        ensure!(left.is_empty(), "alive are {left:?}");
        Ok(())
    })
    .await;
    measured(format!(
        "{} processes were gone {took:?} after the kill",
        family.len()
    ));
    for call in calls {
        assert!(
            call.result().await.is_err(),
            "somebody answered for a dead server"
        );
    }
    assert!(killed.elapsed() < Duration::from_secs(10));

    let server = AllInOne::start_in(state, On::Isolate.settings()).await?;
    until_readyz(&server.base_url, "ready", None, Duration::from_secs(10)).await;
    let client = server.client(Era::Modern).await?;
    let again = client
        .structured("run_js_ephemeral", json!({"code": "return 1;"}))
        .await?;
    assert_eq!(again["result"], 1, "{again}");
    let family = descendants_of(server.process.pid());
    server.stop().await;
    assert!(
        !family.iter().any(Seen::is_alive),
        "an orderly end leaves none either"
    );
    Ok(())
}

async fn a_successor_removes_what_a_killed_server_left_and_knows_its_tools() -> Result<()> {
    let settings = [&NO_POOL, On::Docker.settings()].concat();
    let server = AllInOne::start(&settings).await?;
    let id = server.state().executor()?;
    let client = server.client(Era::Modern).await?;
    client.create_tool("endless", FOR_EVER, json!({})).await?;
    client
        .create_tool("kept", "ctx.progress(1); return 1;", json!({"isolation": "tool"}))
        .await?;
    client.structured("kept", json!({})).await?;
    let call = Running::start(&client, "endless", json!({})).await?;
    assert_eq!(running_containers_of(&id).await?.len(), 2);

    let state = server.kill().await;
    assert!(
        call.result().await.is_err(),
        "somebody answered for a dead server"
    );

    let began = Instant::now();
    let server = AllInOne::start_in(state, &settings).await?;
    assert_eq!(server.state().executor()?, id, "another id was taken");
    until_running(&id, 0, Duration::from_secs(10)).await;
    measured(format!(
        "the predecessor's containers were gone {:?} after the start",
        began.elapsed()
    ));
    until_readyz(&server.base_url, "ready", None, Duration::from_secs(10)).await;
    let client = server.client(Era::Modern).await?;
    assert_eq!(client.structured("kept", json!({})).await?["result"], 1);
    server.stop().await;
    Ok(())
}
