//! Code that leaves failures behind.

use anyhow::Result;
use dynamic_mcp_tests::on::On;

use super::{LONG, Ward, assert_ended};

dynamic_mcp_tests::on_every_engine![an_unhandled_rejection_is_an_error_of_the_call,];

async fn an_unhandled_rejection_is_an_error_of_the_call(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
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
