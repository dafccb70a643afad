use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::json;

use super::{SOON, Two, executor_id, fleet, only_executor, run, until_state};

const SLOW: &str = "await new Promise((done) => setTimeout(done, 3000)); return 'finished';";

#[tokio::test]
async fn a_drained_executor_finishes_what_it_runs_takes_nothing_more_and_leaves_every_replica() -> Result<()>
{
    let mut two = Two::start().await?;
    let (near, far) = (two.near.client(Era::Modern).await?, two.far_client().await?);
    let id = executor_id(&far).await?;
    let running = async { run(&near, SLOW).await };
    let drained = async {
        eventually(SOON, async || {
            let executor = only_executor(&far).await?;
            ensure!(executor["running"] == 1, "{executor}");
            Ok::<_, anyhow::Error>(())
        })
        .await;
        let drain = json!({"executorId": id, "reason": "maintenance"});
        let first = far.structured("system.fleet.drain", drain.clone()).await?;
        assert_eq!(
            (&first["state"], &first["wasDraining"], &first["running"]),
            (&json!("draining"), &json!(false), &json!(1))
        );
        let again = far.structured("system.fleet.drain", drain).await?;
        assert_eq!(again["wasDraining"], true, "to ask again changes nothing");
        until_state(&near, "draining").await;
        until_state(&far, "draining").await;
        Ok::<_, anyhow::Error>(())
    };
    let (running, drained) = tokio::join!(running, drained);
    drained?;
    let running = running?;
    assert_eq!(
        (&running["outcome"], &running["result"]),
        (&json!("ok"), &json!("finished"))
    );
    let ended = two.executor.process.ended(SOON).await?;
    assert!(ended.success(), "it ends by itself, in order: {ended}");
    for client in [&near, &far] {
        eventually(Duration::from_secs(10), async || {
            let fleet = fleet(client).await?;
            ensure!(fleet["totals"]["executors"] == 0, "{fleet}");
            Ok::<_, anyhow::Error>(())
        })
        .await;
    }
    two.near.stop().await;
    two.far.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_executor_that_nobody_knows_is_not_drained_and_the_refusal_says_where_to_look() -> Result<()> {
    let two = Two::start().await?;
    let far = two.far_client().await?;
    for (id, why) in [("exe_nobody", "is not in the fleet"), ("one", "executorId")] {
        let refusal = far
            .refusal("system.fleet.drain", json!({"executorId": id}))
            .await?;
        assert!(refusal.contains(why), "{refusal}");
    }
    two.stop().await;
    Ok(())
}
