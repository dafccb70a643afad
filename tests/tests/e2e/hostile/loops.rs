//! Code that never returns.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;

use super::{LONG, SHORT, Ward, assert_ended};

dynamic_mcp_tests::on_every_engine![
    an_endless_loop_ends_at_its_timeout,
    a_promise_that_can_never_settle_is_told_at_once,
];

async fn an_endless_loop_ends_at_its_timeout(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    for code in [
        "for (;;);",
        "for (;;) await null;",
        "for (;;) { try { await new Promise(setImmediate); } catch {} }",
        "queueMicrotask(function again() { queueMicrotask(again); }); await new Promise(() => {});",
        "/^(a+)+$/.test('a'.repeat(40) + 'b');",
        "await new Promise(() => setInterval(() => {}, 1000));",
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

async fn a_promise_that_can_never_settle_is_told_at_once(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let ended = ward.run("await new Promise(() => {});", LONG).await?;
    assert_ended(&ended, "threw", "never settles");
    assert!(
        ended["durationMs"].as_u64().is_some_and(|took| took < 10_000),
        "{ended}"
    );
    ward.stop().await;
    Ok(())
}
