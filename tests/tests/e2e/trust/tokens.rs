//! A join token replaced beneath running calls.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use dynamic_mcp_tests::state::State;

use super::load::Load;
use super::{NOT_JOINED, said};

const OLD: &str = "the-old-join-token-of-the-test";
const NEW: &str = "the-new-join-token-of-the-test";
const REPLACED: &str = "the join token was replaced";

#[tokio::test]
async fn a_join_token_is_rotated_without_a_restart_and_without_the_loss_of_a_call() -> Result<()> {
    let files = [State::new()?, State::new()?].map(|dir| (dir.path().join("join-token"), dir));
    for (file, _) in &files {
        std::fs::write(file, format!("{OLD}\n"))?;
    }
    let paths = files.each_ref().map(|(file, _)| file.display().to_string());
    let with = |file| [&[("MCP_JOIN_TOKEN_FILE", file)], On::Isolate.settings()].concat();
    let control = ControlPlane::start(&with(&paths[0])).await?;
    let executor = Executor::start(&control, &with(&paths[1])).await?;
    control.ready().await?;
    let load = Load::start(&control).await?;

    for (step, tokens) in [
        format!("{OLD}\n{NEW}\n"),
        format!("{NEW}\n{OLD}\n"),
        format!("{NEW}\n"),
    ]
    .iter()
    .enumerate()
    {
        for ((file, dir), process) in files.iter().zip([&control.process, &executor.process]) {
            let new = dir.path().join("new");
            std::fs::write(&new, tokens)?;
            std::fs::rename(new, file)?;
            eventually(Duration::from_secs(30), async || {
                ensure!(said(process, REPLACED) == step + 1, "not yet:\n{}", process.log());
                Ok(())
            })
            .await;
        }
    }
    // A whole round of calls with the new token alone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = load.stop().await?;
    measured(format!("{calls} calls went well over three replacements"));
    assert!(calls > 20, "{calls} calls are too few to tell");

    let late = [&[("MCP_JOIN_TOKEN", OLD)], On::Isolate.settings()].concat();
    let mut late = Executor::begin_in(State::new()?, &control, &late)?;
    let line = late.process.logged(NOT_JOINED).await?;
    assert!(line["why"].to_string().contains("none of those"), "{line}");
    for process in [&control.process, &executor.process, &late.process] {
        assert!(
            !process.log().contains(OLD) && !process.log().contains(NEW),
            "a token is in a log"
        );
    }
    late.stop().await;
    executor.stop().await;
    control.stop().await;
    Ok(())
}
