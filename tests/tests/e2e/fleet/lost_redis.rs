use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::json;

use super::{SOON, Two, executor_id, fleet, run, until_state};

#[tokio::test]
async fn a_lost_redis_costs_a_replica_the_executors_of_others_until_an_empty_one_is_back() -> Result<()> {
    let mut two = Two::start().await?;
    let (near, far) = (two.near.client(Era::Modern).await?, two.far_client().await?);
    let id = executor_id(&far).await?;
    two.redis.kill().await;
    let gone = eventually(SOON, async || {
        let fleet = fleet(&far).await?;
        ensure!(fleet["totals"]["states"]["ready"] == 0, "{fleet}");
        Ok::<_, anyhow::Error>(())
    })
    .await;
    until_state(&near, "ready").await;

    two.redis.restart().await?;
    two.link.aim(two.redis.address());
    let back = until_state(&far, "ready").await;
    println!("the other replica's executor was gone after {gone:?} and back {back:?} after Redis");
    assert_eq!(executor_id(&far).await?, id);
    let answer = run(&far, "return 1;").await?;
    assert_eq!(answer["outcome"], json!("ok"));
    two.stop().await;
    Ok(())
}
