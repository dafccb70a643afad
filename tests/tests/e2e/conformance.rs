//! The official conformance suite at each protocol version, strict both ways: what is expected to fail must fail, and all
//! else must pass. `tests/conformance/` says why of each.

mod fixtures;

use std::path::Path;

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::foreign::{node_package, output};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;

const PROGRAM: &str = "@modelcontextprotocol/conformance/dist/index.js";

async fn conforms(version: &str) -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    fixtures::make(&server.client(Era::Modern).await?).await?;
    let results = State::new()?;
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conformance/{version}.yml"));
    let mut command = node_package(PROGRAM)?;
    command.args([
        "server",
        "--url",
        &format!("{}/mcp", server.base_url),
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

#[tokio::test]
async fn the_server_conforms_to_2025_06_18() -> Result<()> {
    conforms("2025-06-18").await
}

#[tokio::test]
async fn the_server_conforms_to_2025_11_25() -> Result<()> {
    conforms("2025-11-25").await
}

#[tokio::test]
async fn the_server_conforms_to_2026_07_28() -> Result<()> {
    conforms("2026-07-28").await
}
