//! The official conformance suite at each protocol version, strict both ways: what is expected to fail must fail, and all
//! else must pass. `tests/conformance/` says why of each. Behind a balancer to which nothing sticks the result is the same.

mod fixture;
mod fixtures;
mod replicas;

use std::path::Path;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::foreign::{node_package, output};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;

const PROGRAM: &str = "@modelcontextprotocol/conformance/dist/index.js";

/// `expected`: which file says what fails.
async fn conforms(base_url: &str, version: &str, expected: &str) -> Result<()> {
    let results = State::new()?;
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conformance/{expected}.yml"));
    let mut command = node_package(PROGRAM)?;
    command.args([
        "server",
        "--url",
        &format!("{base_url}/mcp"),
        "--suite",
        "all",
        "--spec-version",
        version,
    ]);
    command
        .arg("--expected-failures")
        .arg(expected)
        .arg("-o")
        .arg(results.path())
        .current_dir(results.path());
    let report = output(command).await?;
    // Nothing is left out unseen: each scenario is in the report.
    assert!(report.contains("server-"), "{report}");
    Ok(())
}

async fn the_server_conforms(version: &str) -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    fixtures::make(&server.client(Era::Modern).await?).await?;
    conforms(&server.base_url, version, version).await
}

#[tokio::test]
async fn the_server_conforms_to_2025_06_18() -> Result<()> {
    the_server_conforms("2025-06-18").await
}

#[tokio::test]
async fn the_server_conforms_to_2025_11_25() -> Result<()> {
    the_server_conforms("2025-11-25").await
}

#[tokio::test]
async fn the_server_conforms_to_2026_07_28() -> Result<()> {
    the_server_conforms("2026-07-28").await
}
