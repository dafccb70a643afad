//! Code that never returns.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;

use super::{LONG, SHORT, Ward, assert_ended};

#[tokio::test]
async fn an_endless_loop_ends_at_its_timeout() -> Result<()> {
    let ward = Ward::start().await?;
    for code in [
        "for (;;);",
        "for (;;) await null;",
        "process.on('SIGTERM', () => {}); for (;;) { try { await new Promise(setImmediate); } catch {} }",
        "process.nextTick(function again() { process.nextTick(again); }); await new Promise(() => {});",
        "await new Promise(() => setInterval(() => {}, 1000));",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
    ] {
        let ended = ward.run(code, SHORT).await?;
        assert_ended(&ended, "timed_out", "2000 ms");
        let took = ended["durationMs"].as_u64().unwrap_or_default();
        measured(format!("{code}: {took} ms"));
        assert!((2_000..4_000).contains(&took), "{code} was ended after {took} ms");
    }
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_promise_that_can_never_settle_is_told_at_once() -> Result<()> {
    let ward = Ward::start().await?;
    let ended = ward.run("await new Promise(() => {});", LONG).await?;
    assert_ended(&ended, "threw", "never settles");
    assert!(
        ended["durationMs"].as_u64().is_some_and(|took| took < 10_000),
        "{ended}"
    );
    ward.stop().await;
    Ok(())
}
