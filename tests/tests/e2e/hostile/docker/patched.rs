//! Code that rewrites Node.js under the runner's feet, or leaves processes behind, in a container that is kept.

use anyhow::Result;
use dynamic_mcp_tests::on::On;
use serde_json::json;

use crate::hostile::Ward;
use crate::hostile::patched::assert_harms_only_itself;

const PATCHES: [(&str, &str); 3] = [
    (
        "stdout",
        "process.stdout.write = () => { throw new Error('no'); }; process.stderr.write = process.stdout.write;",
    ),
    (
        "process",
        "process.reallyExit = () => {}; process.on = null; process.emit = () => true; process.listenerCount = () => 9;",
    ),
    (
        "files",
        "const fs = (await import('node:fs')).default; fs.writeSync = () => 0; fs.readSync = () => 0; fs.fstatSync = null;",
    ),
];

#[tokio::test]
async fn a_patched_runtime_harms_only_the_tool_that_patched_it() -> Result<()> {
    assert_harms_only_itself(On::Docker, &PATCHES).await
}

#[tokio::test]
async fn a_process_that_a_call_left_behind_does_not_speak_in_the_next_one() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    // A timer that fires later, a child that prints later, a promise that settles later.
    let code = "const { spawn } = await import('node:child_process'); \
        setTimeout(() => { process.stdout.write('late timer\\n'); }, 50); \
        Promise.resolve().then(() => new Promise((resolve) => setTimeout(resolve, 50))).then(() => args.ctx?.progress(9)); \
        spawn('/bin/sh', ['-c', 'sleep 0.2; echo late child'], { stdio: ['ignore', 'inherit', 'inherit'] }).unref(); \
        return args.n;";
    ward.client
        .create_tool("littering", code, json!({"isolation": "tool"}))
        .await?;
    for n in 0..5 {
        let ended = ward
            .client
            .structured("littering", json!({"args": {"n": n}}))
            .await?;
        assert_eq!(
            (&ended["outcome"], &ended["result"]),
            (&json!("ok"), &json!(n)),
            "{ended}"
        );
    }
    ward.stop().await;
    Ok(())
}
