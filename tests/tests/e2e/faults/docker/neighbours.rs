//! Several servers on one Engine: none touches another's containers, however one of them ends.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::docker::{containers_of, running_containers_of};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::running::Running;
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::json;

use super::WITHOUT_POOL;
use crate::faults::{FOR_EVER, until_running};

/// Longer than the reaper of a living server waits for its next look.
const PAST_A_SWEEP: Duration = Duration::from_secs(25);
const LASTING: &str =
    "ctx.progress(1); await new Promise((resolve) => setTimeout(resolve, args.ms)); return 'whole';";

async fn running(executors: &[String]) -> Result<usize> {
    let mut running = 0;
    for id in executors {
        running += running_containers_of(id).await?.len();
    }
    Ok(running)
}

async fn client(server: &AllInOne) -> Result<McpClient> {
    server.client(Era::Modern).await
}

#[tokio::test]
async fn servers_with_states_of_their_own_leave_each_other_alone() -> Result<()> {
    let (one, two) = tokio::try_join!(AllInOne::start(&WITHOUT_POOL), AllInOne::start(&WITHOUT_POOL))?;
    let (one_id, two_id) = (one.state().executor()?, two.state().executor()?);
    ensure!(one_id != two_id, "both took {one_id}");
    let (one_client, two_client) = (client(&one).await?, client(&two).await?);
    one_client
        .create_tool("endless", FOR_EVER, json!({"timeoutMs": 120_000}))
        .await?;
    two_client.create_tool("lasting", LASTING, json!({})).await?;
    let doomed = Running::start(&one_client, "endless", json!({})).await?;
    let whole = Running::start(&two_client, "lasting", json!({"args": {"ms": 4000}})).await?;

    // The first one's orphan is not the second one's to remove: it can't know that its owner is dead.
    let state = one.kill().await;
    drop(doomed);
    assert_eq!(whole.structured().await?["result"], "whole");
    assert_eq!(running_containers_of(&one_id).await?.len(), 1);

    // The owner's next life removes it, and nothing else.
    let whole = Running::start(&two_client, "lasting", json!({"args": {"ms": 4000}})).await?;
    let one = AllInOne::start_in(state, &WITHOUT_POOL).await?;
    let took = until_running(&one_id, 0, Duration::from_secs(10)).await;
    measured(format!("the orphan was gone {took:?} after its owner was back"));
    assert_eq!(whole.structured().await?["result"], "whole");
    one.stop().await;
    two.stop().await;
    assert!(containers_of(&one_id).await?.is_empty() && containers_of(&two_id).await?.is_empty());
    Ok(())
}

/// As a desktop does it: several clients each start a server, none says anything about directories.
#[tokio::test]
async fn servers_that_share_the_default_state_share_tools_and_not_containers() -> Result<()> {
    let home = State::new()?;
    let (one, two) = tokio::try_join!(
        AllInOne::start_at_home(&home, &WITHOUT_POOL),
        AllInOne::start_at_home(&home, &WITHOUT_POOL)
    )?;
    let ids = home.executors();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let (one_client, two_client) = (client(&one).await?, client(&two).await?);
    one_client
        .create_tool("endless", FOR_EVER, json!({"timeoutMs": 120_000}))
        .await?;
    one_client.create_tool("lasting", LASTING, json!({})).await?;
    eventually(Duration::from_secs(20), async || {
        let names = two_client.tool_names().await?;
        ensure!(
            names.contains(&"lasting".to_owned()),
            "the other one's tools are not all known yet: {names:?}"
        );
        Ok(())
    })
    .await;

    let doomed = Running::start(&one_client, "endless", json!({})).await?;
    let whole = Running::start(&two_client, "lasting", json!({"args": {"ms": 15_000}})).await?;
    assert_eq!(running(&ids).await?, 2);
    drop(one.kill().await);
    drop(doomed);

    // Here a dead owner is seen: its lock is free. The living one's call goes on meanwhile.
    let took = eventually(PAST_A_SWEEP, async || {
        let running = running(&ids).await?;
        ensure!(running <= 1, "{running} containers run");
        Ok(())
    })
    .await;
    measured(format!("the orphan was gone {took:?} after the kill"));
    assert_eq!(whole.structured().await?["result"], "whole");
    two.stop().await;
    for id in &ids {
        assert!(containers_of(id).await?.is_empty());
    }
    Ok(())
}
