//! Globals that only exist, or only differ from Node.js, here.

use crate::rig::{result, threw};
use serde_json::json;

#[test]
fn an_absent_global_is_named_with_the_runtime_that_has_it() {
    for name in ["Intl", "fetch", "process", "require", "WebAssembly", "Blob"] {
        assert_eq!(result(&format!("return typeof {name}")), "undefined");
        let report = threw(&format!("return {name}.x"));
        let message = format!("{name} is not defined in runtime \"isolate\"; use runtime \"node\"");
        assert_eq!(report.message, message);
        assert!(
            report
                .stack
                .starts_with(&format!("ReferenceError: {message}\n    at run (tool.mjs:1:"))
        );
    }
    assert_eq!(threw("mine").message, "mine is not defined");
}

#[test]
fn a_signal_aborts_what_waits_for_it() {
    let code = "const { setTimeout: sleep } = await import('node:timers/promises');
        const signal = AbortSignal.timeout(5);
        setTimeout(() => {}, 50);
        try { await sleep(9e3, null, { signal }) } catch (e) { return [e.name, e.code, signal.reason.name] }";
    assert_eq!(result(code), json!(["AbortError", "ABORT_ERR", "TimeoutError"]));
}

#[test]
fn random_bytes_come_from_the_host() {
    assert_eq!(
        result("return [...crypto.getRandomValues(new Uint8Array(3))]"),
        json!([0, 1, 2])
    );
    assert_eq!(
        result("return crypto.randomUUID()"),
        "00010203-0405-4607-8809-0a0b0c0d0e0f"
    );
}
