//! Kill -9 of the server that runs everything, and its next life.

use std::time::{Duration, Instant};

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::docker::running_containers_of;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

use super::{FOR_EVER, NO_POOL, until_readyz, until_running};

#[tokio::test]
async fn a_successor_removes_what_a_killed_server_left_and_knows_its_tools() -> Result<()> {
    let server = AllInOne::start(&NO_POOL).await?;
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
    let server = AllInOne::start_in(state, &NO_POOL).await?;
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
