//! Code that rewrites the language under the runner's feet. With `isolation: tool` the process stays, so the damage may
//! stay too: but only in that tool's own calls.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use serde_json::json;

use super::{Ward, told};

const PATCHES: [(&str, &str); 9] = [
    (
        "stringify",
        "JSON.stringify = () => '\"forged\"'; JSON.parse = () => ({ forged: true });",
    ),
    (
        "arrays",
        "Array.prototype.push = () => 0; Array.prototype.join = () => 'forged'; Array.prototype[Symbol.iterator] = null;",
    ),
    (
        "stdout",
        "process.stdout.write = () => { throw new Error('no'); }; process.stderr.write = process.stdout.write;",
    ),
    (
        "promises",
        "Promise.prototype.then = function () { return this; }; globalThis.Promise = null;",
    ),
    (
        "objects",
        "Object.defineProperty(Object.prototype, 'kind', { get() { return 'r'; }, set() { throw new Error('set'); } }); Object.freeze = null;",
    ),
    (
        "buffers",
        "Buffer.byteLength = () => 3; Buffer.prototype.utf8Write = () => 0; Buffer.allocUnsafeSlow = null;",
    ),
    (
        "strings",
        "String.prototype.slice = () => 'forged'; String.prototype.split = () => []; RegExp.prototype.exec = () => null;",
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
async fn a_patched_language_harms_only_the_tool_that_patched_it() -> Result<()> {
    let ward = Ward::start().await?;
    ward.client
        .create_tool(
            "bystander",
            "return [args.n, { n: args.n }];",
            json!({"isolation": "tool"}),
        )
        .await?;
    for (name, patch) in PATCHES {
        let (tool, code) = (
            format!("patch.{name}"),
            format!("{patch} return {{ patched: true }};"),
        );
        ward.client
            .create_tool(&tool, &code, json!({"isolation": "tool", "timeoutMs": 3000}))
            .await?;
        for attempt in 0..2 {
            let ended = ward
                .beside_the_neighbour(ward.client.call(&tool, json!({})))
                .await?;
            // Whatever it did, it is answered, and never with something that it did not return.
            measured(format!("{tool}, call {attempt}: {:?}", told(&ended)));
            if told(&ended).0 == "ok" {
                assert_eq!(ended["result"], json!({"patched": true}), "{tool}: {ended}");
            }
        }
        let ended = ward
            .client
            .structured("bystander", json!({"args": {"n": 7}}))
            .await?;
        assert_eq!(ended["result"], json!([7, {"n": 7}]), "after {tool}: {ended}");
    }
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_a_call_left_behind_does_not_speak_in_the_next_one() -> Result<()> {
    let ward = Ward::start().await?;
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
