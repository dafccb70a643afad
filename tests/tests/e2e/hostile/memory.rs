//! Code that takes all the memory it can get.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;

use super::{LONG, Ward, assert_ended};

dynamic_mcp_tests::on_every_engine![
    a_memory_bomb_is_out_of_memory_whoever_notices,
    endless_recursion_is_the_codes_own_error,
];

async fn a_memory_bomb_is_out_of_memory_whoever_notices(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    for code in [
        // The engine gives up by itself.
        "const all = []; for (;;) all.push(new Array(100_000).fill(1.5));",
        // Outside of V8's heap: the kernel ends it.
        "const all = []; for (;;) all.push(Buffer.alloc(16 << 20, 1));",
    ] {
        let ended = ward.run(code, LONG).await?;
        assert_ended(&ended, "out_of_memory", "256m");
        measured(format!("{code}: {} ms", ended["durationMs"]));
    }
    ward.stop().await;
    Ok(())
}

async fn endless_recursion_is_the_codes_own_error(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let ended = ward
        .run("const again = () => again() + 1; return again();", LONG)
        .await?;
    assert_ended(&ended, "threw", "RangeError: Maximum call stack size exceeded");
    ward.stop().await;
    Ok(())
}
