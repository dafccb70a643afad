//! The suite against three replicas, each request at another one: what fails there is what fails at one.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::on::On;

use super::fixture::Served;
use super::{conforms, fixtures};

/// The server that the suite is written for.
async fn the_fixture_conforms(version: &str) -> Result<()> {
    let expected = format!("fixture-{version}");
    let alone = Served::alone().await?;
    conforms(&alone.base_url, version, &expected).await?;
    let together = Served::by(3).await?;
    conforms(&together.base_url, version, &expected).await
}

async fn three_replicas_conform(version: &str) -> Result<()> {
    let cluster = Cluster::start(Plan::default().executors(&[On::Isolate, On::Isolate])).await?;
    fixtures::make(&cluster.client(Era::Modern).await?).await?;
    conforms(cluster.base_url(), version, version).await?;
    cluster.stop().await
}

#[tokio::test]
async fn the_suites_own_server_loses_nothing_by_replicas_at_2025_06_18() -> Result<()> {
    the_fixture_conforms("2025-06-18").await
}

#[tokio::test]
async fn the_suites_own_server_loses_nothing_by_replicas_at_2025_11_25() -> Result<()> {
    the_fixture_conforms("2025-11-25").await
}

#[tokio::test]
async fn the_suites_own_server_loses_nothing_by_replicas_at_2026_07_28() -> Result<()> {
    the_fixture_conforms("2026-07-28").await
}

#[tokio::test]
async fn the_server_loses_nothing_by_replicas_at_2025_06_18() -> Result<()> {
    three_replicas_conform("2025-06-18").await
}

#[tokio::test]
async fn the_server_loses_nothing_by_replicas_at_2025_11_25() -> Result<()> {
    three_replicas_conform("2025-11-25").await
}

#[tokio::test]
async fn the_server_loses_nothing_by_replicas_at_2026_07_28() -> Result<()> {
    three_replicas_conform("2026-07-28").await
}
