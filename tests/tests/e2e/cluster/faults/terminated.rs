//! SIGTERM, to a replica and to an executor, in the middle of work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::fault_row;
use dynamic_mcp_tests::running::Running;
use futures::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{running_on, until_nothing_runs};
use crate::cluster::SOON;

const LASTING: &str =
    "ctx.progress(1); await new Promise((done) => setTimeout(done, 2000)); return 'finished';";
const GRACE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_replicas_calls_finish_and_are_in_the_audit_while_the_others_take_what_is_new() -> Result<()> {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("lasting", LASTING, json!({})).await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    let leaving = cluster.replicas[0].client(Era::Modern).await?;
    let call = Running::start(&leaving, "lasting", json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    let asked = Instant::now();
    cluster.replicas[0].process().signal("TERM").await;
    let others = async {
        for _ in 0..10 {
            // Until it listens no more it says itself that it takes nothing.
            let answer = client.call("quick", json!({})).await?["structuredContent"].clone();
            let refused = answer["reason"] == "shutting_down";
            ensure!(refused || answer["result"] == 1, "{answer}");
        }
        Ok(())
    };
    let (answer, others) = tokio::join!(call.structured(), others);
    others?;
    assert_eq!(answer?["result"], "finished");
    cluster.replica_ended(0).await?;
    fault_row(
        "SIGTERM to a replica: its calls finished and it ended",
        GRACE,
        asked.elapsed(),
    );

    let mut connection = PgConnection::connect(cluster.schema().url()).await?;
    let closed = AssertSqlSafe(format!(
        "SELECT count(*) FROM {}.audit_events WHERE phase = 'closed' AND target = 'lasting' AND outcome = 'ok'",
        cluster.schema().name()
    ));
    let closed: i64 = sqlx::query_scalar(closed).fetch_one(&mut connection).await?;
    assert_eq!(closed, 1, "the audit of its last call is in Postgres");
    cluster.start_replica(0).await?;
    cluster.until_ready(SOON).await;
    cluster.stop().await
}

#[tokio::test]
async fn an_executors_calls_finish_and_it_gets_no_new_ones() -> Result<()> {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster.make_tool("lasting", LASTING, json!({})).await?;
    cluster.make_tool("quick", "return 1;", json!({})).await?;
    let client = cluster.client(Era::Modern).await?;
    let call = Running::start(&client, "lasting", json!({})).await?;
    let leaving = running_on(&cluster)?
        .into_iter()
        .next()
        .context("where it runs")?;
    let asked = Instant::now();
    cluster.executors[leaving].process().signal("TERM").await;
    eventually(SOON, async || {
        let log = cluster.executors[leaving].process().log();
        ensure!(log.contains("draining: no new jobs"), "{log}");
        Ok(())
    })
    .await;
    let before = cluster.executors[leaving].ran()?.len();
    for answer in join_all((0..12).map(|_| client.structured("quick", json!({})))).await {
        assert_eq!(answer?["result"], 1);
    }
    assert_eq!(cluster.executors[leaving].ran()?.len(), before, "it got new work");
    assert_eq!(call.structured().await?["result"], "finished");
    cluster.executor_ended(leaving).await?;
    fault_row(
        "SIGTERM to an executor: its calls finished and it ended",
        GRACE,
        asked.elapsed(),
    );
    until_nothing_runs(&cluster, SOON).await;
    cluster.start_executor(leaving).await?;
    cluster.stop().await
}
