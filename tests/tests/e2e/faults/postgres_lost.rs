//! A registry in Postgres: shared by replicas, lost and found.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::database::Schema;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::proxy::Proxy;
use dynamic_mcp_tests::server::{AllInOne, NO_POOL, SMALL_POOL};
use serde_json::{Value, json};

use super::{SOON, until_readyz};

/// The failure table says one second, in which a healthy look may already have begun.
const CLEAR: Duration = Duration::from_secs(8);
const RECOVERY: Duration = Duration::from_secs(15);

async fn replica(schema: &Schema, url: &str, pool: &[(&str, &str)]) -> Result<AllInOne> {
    let database = [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", url),
        ("MCP_DYNAMIC_PG_SCHEMA", schema.name()),
    ];
    AllInOne::start(&[&database, pool].concat()).await
}

async fn until_named(client: &McpClient, tool: &str, there: bool, limit: Duration) -> Duration {
    eventually(limit, async || {
        let names = client.tool_names().await?;
        ensure!(
            names.contains(&tool.to_owned()) == there,
            "not {there}: {tool} in {names:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn replicas_over_one_database_show_each_others_tools() -> Result<()> {
    let schema = Schema::new()?;
    let (one, two) = tokio::try_join!(
        replica(&schema, schema.url(), &SMALL_POOL),
        replica(&schema, schema.url(), &NO_POOL)
    )?;
    let (one_client, two_client) = (one.client(Era::Modern).await?, two.client(Era::Legacy).await?);

    two_client
        .create_tool("shared", "return args.n + 1;", json!({}))
        .await?;
    measured(format!(
        "seen by the other replica after {:?}",
        until_named(&one_client, "shared", true, SOON).await
    ));
    let answer = one_client.structured("shared", json!({"args": {"n": 1}})).await?;
    assert_eq!(
        (&answer["result"], &answer["revision"]),
        (&json!(2), &json!(1)),
        "{answer}"
    );

    // A stale writer is told, whichever replica it asks.
    let update = |description: &str| json!({"name": "shared", "patch": {"description": description}, "expectedRevision": 1});
    one_client
        .structured("dynamic.tool.update", update("first"))
        .await?;
    let refusal = two_client
        .refusal("dynamic.tool.update", update("second"))
        .await?;
    assert!(refusal.contains('1') && refusal.contains('2'), "{refusal}");

    one_client
        .structured("dynamic.tool.delete", json!({"name": "shared"}))
        .await?;
    until_named(&two_client, "shared", false, SOON).await;
    one.stop().await;
    two.stop().await;
    schema.drop_it().await
}

#[tokio::test]
async fn without_postgres_known_tools_run_and_writes_fail_clearly_until_it_is_back() -> Result<()> {
    for lose in [Proxy::cut, Proxy::stall] {
        let schema = Schema::new()?;
        let proxy = Proxy::before(schema.address().await?).await?;
        let server = replica(&schema, &schema.url_by(proxy.address())?, &SMALL_POOL).await?;
        let client = server.client(Era::Modern).await?;
        client
            .create_tool("known", "return 'still here';", json!({}))
            .await?;
        lose(&proxy);

        let asked = Instant::now();
        let refused = write(&client, "unknown").await?;
        measured(format!(
            "a write was refused within {:?}: {}",
            asked.elapsed(),
            refused["structuredContent"]["error"]
        ));
        assert_eq!(refused["isError"], true, "{refused}");
        assert_eq!(refused["structuredContent"]["kind"], "unavailable", "{refused}");
        assert!(
            asked.elapsed() < CLEAR,
            "a write was refused only after {:?}",
            asked.elapsed()
        );

        let degraded = until_readyz(&server.base_url, "degraded", Some("registry"), RECOVERY).await;
        measured(format!("/readyz said so after {degraded:?}"));
        let asked = Instant::now();
        assert_eq!(
            client.structured("known", json!({})).await?["result"],
            "still here"
        );
        assert!(
            asked.elapsed() < SOON,
            "a call of a known tool took {:?}",
            asked.elapsed()
        );
        until_named(&client, "known", true, SOON).await;

        proxy.flow();
        let took = until_readyz(&server.base_url, "ready", None, RECOVERY).await;
        measured(format!("ready again after {took:?}"));
        client.create_tool("afterwards", "return 1;", json!({})).await?;
        until_named(&client, "afterwards", true, SOON).await;
        server.stop().await;
        schema.drop_it().await?;
    }
    Ok(())
}

async fn write(client: &McpClient, name: &str) -> Result<Value> {
    let tool = json!({"name": name, "description": "Can't be stored now.", "code": "return 1;"});
    let asked = client.call("dynamic.tool.create", json!({"tool": tool}));
    tokio::time::timeout(Duration::from_secs(20), asked)
        .await
        .context("the write hangs")?
}
