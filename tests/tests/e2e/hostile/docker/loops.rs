//! Code that never returns and holds Node.js in its own ways.

use anyhow::Result;
use dynamic_mcp_tests::on::On;

use crate::hostile::{SHORT, Ward, assert_ended};

#[tokio::test]
async fn an_endless_loop_ends_at_its_timeout_whatever_holds_the_process() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    for code in [
        "process.on('SIGTERM', () => {}); for (;;) { try { await new Promise(setImmediate); } catch {} }",
        "process.nextTick(function again() { process.nextTick(again); }); await new Promise(() => {});",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
    ] {
        let ended = ward.run(code, SHORT).await?;
        assert_ended(&ended, "timed_out", "2000 ms");
        let took = ended["durationMs"].as_u64().unwrap_or_default();
        assert!((2_000..4_000).contains(&took), "{code} was ended after {took} ms");
    }
    ward.stop().await;
    Ok(())
}
