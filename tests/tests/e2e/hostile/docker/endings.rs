//! Code that ends its own process, or others.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;

use crate::hostile::{LONG, Ward, assert_ended, told};

#[tokio::test]
async fn ending_the_process_is_told_with_its_exit_code() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
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
    let ward = Ward::start(On::Docker).await?;
    let code = "const sent = []; \
        for (const pid of [1, -1]) try { process.kill(pid, 'SIGKILL'); sent.push(pid); } catch (error) { sent.push(error.code); } \
        return sent;";
    let ended = ward.run(code, LONG).await?;
    let (outcome, _) = told(&ended);
    measured(format!("killing 1 and -1: {ended}"));
    assert!(["ok", "interrupted", "threw"].contains(&outcome), "{ended}");
    ward.stop().await;
    Ok(())
}
