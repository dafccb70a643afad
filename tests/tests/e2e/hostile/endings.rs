//! Code that ends its own process, or leaves failures behind.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;

use super::{LONG, Ward, assert_ended};

#[tokio::test]
async fn ending_the_process_is_told_with_its_exit_code() -> Result<()> {
    let ward = Ward::start().await?;
    for (code, error) in [
        ("process.exit(0);", "exit code 0"),
        ("process.exit(7);", "exit code 7"),
        (
            "setImmediate(() => process.exit(3)); await new Promise((resolve) => setTimeout(resolve, 5000));",
            "exit code 3",
        ),
        ("process.reallyExit(9);", "exit code 9"),
        ("process.abort();", "signal 6"),
    ] {
        assert_ended(&ward.run(code, LONG).await?, "threw", error);
    }
    // From outside it can't be told who sent it.
    assert_ended(
        &ward
            .run("process.kill(process.pid, 'SIGKILL'); for (;;);", LONG)
            .await?,
        "interrupted",
        "killed",
    );
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn killing_everything_in_reach_reaches_nobody_else() -> Result<()> {
    let ward = Ward::start().await?;
    let code = "const sent = []; \
        for (const pid of [1, -1]) try { process.kill(pid, 'SIGKILL'); sent.push(pid); } catch (error) { sent.push(error.code); } \
        return sent;";
    let ended = ward.run(code, LONG).await?;
    let (outcome, _) = super::told(&ended);
    measured(format!("killing 1 and -1: {ended}"));
    assert!(["ok", "interrupted", "threw"].contains(&outcome), "{ended}");
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_unhandled_rejection_is_an_error_of_the_call() -> Result<()> {
    let ward = Ward::start().await?;
    for code in [
        "Promise.reject(new Error('left behind')); await new Promise((resolve) => setTimeout(resolve, 1000)); return 1;",
        "Promise.reject(new Error('left behind')); return 1;",
        "setImmediate(() => { throw new Error('left behind'); }); await new Promise((resolve) => setTimeout(resolve, 1000));",
    ] {
        assert_ended(&ward.run(code, LONG).await?, "threw", "left behind");
    }
    ward.stop().await;
    Ok(())
}
