//! Code that rewrites the language under the runner's feet. With `isolation: tool` the process stays, so the damage may
//! stay too: but only in that tool's own calls.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use serde_json::json;

use super::{Ward, told};

const PATCHES: [(&str, &str); 7] = [
    (
        "stringify",
        "JSON.stringify = () => '\"forged\"'; JSON.parse = () => ({ forged: true });",
    ),
    (
        "arrays",
        "Array.prototype.push = () => 0; Array.prototype.join = () => 'forged'; Array.prototype[Symbol.iterator] = null;",
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
        "globals",
        "for (const name of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[name]; } catch {}",
    ),
    (
        "buffers",
        "Buffer.byteLength = () => 3; Buffer.prototype.utf8Write = () => 0; Buffer.allocUnsafeSlow = null;",
    ),
    (
        "strings",
        "String.prototype.slice = () => 'forged'; String.prototype.split = () => []; RegExp.prototype.exec = () => null;",
    ),
];

dynamic_mcp_tests::on_every_engine![
    a_patched_language_harms_only_the_tool_that_patched_it,
    what_a_call_left_behind_does_not_speak_in_the_next_one,
];

async fn a_patched_language_harms_only_the_tool_that_patched_it(on: On) -> Result<()> {
    assert_harms_only_itself(on, &PATCHES).await
}

pub(super) async fn assert_harms_only_itself(on: On, patches: &[(&str, &str)]) -> Result<()> {
    let ward = Ward::start(on).await?;
    ward.client
        .create_tool(
            "bystander",
            "return [args.n, { n: args.n }];",
            json!({"isolation": "tool"}),
        )
        .await?;
    for (name, patch) in patches {
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

async fn what_a_call_left_behind_does_not_speak_in_the_next_one(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    // A timer that fires later, a promise that settles later.
    let code = "setTimeout(() => { console.log('late timer'); }, 50); setInterval(() => ctx.progress(9), 20); \
        Promise.resolve().then(() => new Promise((resolve) => setTimeout(resolve, 50))).then(() => ctx.progress(9)); \
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
