//! Code that multiplies.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::docker::running_containers_of;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::on::On;

use crate::hostile::{LONG, SHORT, Ward, assert_ended};

#[tokio::test]
async fn a_fork_bomb_ends_with_its_call() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let shell = "const { spawn } = await import('node:child_process'); \
        spawn('/bin/sh', ['-c', 'bomb() { bomb | bomb & }; bomb'], { stdio: 'ignore', detached: true }); \
        for (;;);";
    assert_ended(&ward.run(shell, SHORT).await?, "timed_out", "");

    // Each of them loops in a session of its own, out of reach of a signal to the group.
    let spinners = "const { spawn } = await import('node:child_process'); \
        for (let i = 0; i < 20; i += 1) spawn('/bin/sh', ['-c', 'while :; do :; done'], { stdio: 'ignore', detached: true }).unref(); \
        return 'gone';";
    let ended = ward.run(spinners, LONG).await?;
    assert_eq!(ended["result"], "gone", "{ended}");

    let executor = ward.server.state().executor()?;
    eventually(Duration::from_secs(10), async || {
        let running = running_containers_of(&executor).await?;
        ensure!(running.len() <= 4, "more than the pool runs: {running:?}");
        Ok(())
    })
    .await;
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_limit_of_processes_is_named_to_the_code_that_reaches_it() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let code = "const { spawn } = await import('node:child_process'); \
        for (let i = 0; i < 500; i += 1) spawn('/bin/sleep', ['100']); \
        await new Promise((resolve) => setTimeout(resolve, 1000));";
    let ended = ward.run(code, LONG).await?;
    assert_ended(&ended, "threw", "limit of 128 processes and threads");
    ward.stop().await;
    Ok(())
}
