use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use serde_json::json;

use super::{Two, fleet, run};

#[tokio::test]
async fn a_call_through_a_replica_that_no_executor_has_joined_runs_on_that_of_another() -> Result<()> {
    let two = Two::start().await?;
    let (near, far) = (two.near.client(Era::Modern).await?, two.far_client().await?);
    let answer = run(&far, "return 6 * 7;").await?;
    assert_eq!(
        (&answer["outcome"], &answer["result"]),
        (&json!("ok"), &json!(42))
    );

    let (seen_near, seen_far) = (fleet(&near).await?, fleet(&far).await?);
    let executor = &seen_far["executors"][0];
    assert_eq!(executor["replicas"], json!([seen_near["replica"]]));
    assert_eq!(executor["id"], seen_near["executors"][0]["id"]);
    assert_eq!(
        (&executor["state"], &executor["epoch"]),
        (&json!("ready"), &json!(1))
    );
    assert_eq!(seen_far["totals"]["states"]["ready"], 1);
    let resource = far
        .ask("resources/read", json!({"uri": "dynamic://fleet"}))
        .await?;
    let text = resource["contents"][0]["text"].as_str().unwrap_or_default();
    assert!(
        text.contains(executor["id"].as_str().unwrap_or("no id")),
        "{text}"
    );
    two.stop().await;
    Ok(())
}
