//! The ends that a call can come to besides a result.

use std::time::{Duration, Instant};

use dynamic_mcp_quickjs::Ending;

use crate::rig::{Rig, ending, result};

fn uncaught(code: &str) -> String {
    match ending(code) {
        Ending::Uncaught(report) => report.message,
        other => panic!("{code}: {other:?}"),
    }
}

#[test]
fn a_rejection_that_nothing_handles_ends_the_call() {
    assert_eq!(
        uncaught("Promise.reject(new Error('forgotten')); return 1"),
        "forgotten"
    );
    assert_eq!(
        uncaught("(async () => { throw new Error('x') })(); await new Promise((r) => setTimeout(r, 9e3))"),
        "x"
    );
}

#[test]
fn a_rejection_that_is_handled_in_its_turn_does_not() {
    assert_eq!(
        result("const p = Promise.reject(1); await null; await p.catch(() => {}); return 1"),
        1
    );
    assert_eq!(
        result(
            "const all = [Promise.reject(1), Promise.reject(2)]; return (await Promise.allSettled(all)).length"
        ),
        2
    );
}

#[test]
fn a_throw_from_a_timer_ends_the_call() {
    let wait = "await new Promise((r) => setTimeout(r, 9e3))";
    assert_eq!(
        uncaught(&format!(
            "setTimeout(() => {{ throw new Error('late') }}, 5); {wait}"
        )),
        "late"
    );
    assert_eq!(
        uncaught(&format!(
            "setImmediate(() => {{ throw new Error('late') }}); {wait}"
        )),
        "late"
    );
    assert_eq!(
        uncaught(&format!(
            "queueMicrotask(() => {{ throw new Error('late') }}); {wait}"
        )),
        "late"
    );
}

#[test]
fn a_promise_that_never_settles_is_told_at_once() {
    for code in [
        "await new Promise(() => {})",
        "setTimeout(() => {}, 5); await new Promise(() => {})",
        "setTimeout(() => {}, 9e3).unref(); await new Promise(() => {})",
    ] {
        let began = Instant::now();
        assert_eq!(ending(code), Ending::NothingLeft, "{code}");
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}

#[test]
fn timers_that_are_left_over_are_not_waited_for() {
    let began = Instant::now();
    assert_eq!(
        result("setTimeout(() => {}, 15_000); setInterval(() => {}, 1); return 1"),
        1
    );
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn immediates_of_the_last_turn_still_run() {
    let mut rig = Rig::new();
    rig.call("setImmediate(() => { console.log('x'); setImmediate(() => console.log('y')) }); return 1");
    assert!(rig.stdout().starts_with("x\n"));
}

#[test]
fn an_interrupt_can_not_be_caught() {
    for code in [
        "for (;;) {}",
        "for (;;) { try { for (;;) {} } catch {} finally { continue } }",
        "const f = async () => { try { for (;;) {} } finally { f() } }; await f()",
        "for (;;) await null",
        "const f = () => { Promise.resolve().then(f) }; f(); await new Promise(() => {})",
        "const f = () => queueMicrotask(f); f(); return 1",
        "await new Promise((r) => setInterval(() => {}, 1000))",
        "for (;;) await new Promise((r) => setTimeout(r, 1))",
        "return { toJSON() { for (;;) {} } }",
        "throw { get message() { for (;;) {} } }",
        "[1, 2].sort(() => { for (;;) {} })",
        "/(?:a+)+b/.test('a'.repeat(100))",
        "/^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(200))",
        "'x'.repeat(1e6).replace(/x*x*x*y/g, '')",
        "new Proxy({}, { get() { for (;;) {} } }).x",
        "const f = () => setImmediate(f); f(); await new Promise(() => {})",
        "await Promise.reject(1).finally(() => { for (;;) {} })",
    ] {
        let began = Instant::now();
        let mut rig = Rig::within(Duration::from_millis(500));
        assert_eq!(rig.call(code), Ending::Interrupted, "{code}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{code}: {:?}",
            began.elapsed()
        );
    }
}
