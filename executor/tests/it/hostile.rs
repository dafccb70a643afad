//! Code that means harm: each case with the outcome that its caller is told, and a neighbour that notices nothing.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rig::{MEMORY, On, failure, job, result, run, within};

on_every_engine![
    endless_loops_end_at_the_deadline_with_what_they_printed,
    languages_own_traps_end_at_the_deadline,
    exhausted_memory_is_told_apart,
    exhausted_memory_that_is_caught_over_and_over_ends_the_call_all_the_same,
    endless_recursion_is_the_codes_own_error,
    a_gigabyte_of_output_is_cut_and_counted,
    many_short_lines_of_output_are_cut_and_counted,
    forged_frames_are_output,
    a_patched_language_does_not_change_what_is_told,
    a_flood_of_progress_holds_nothing_up,
    hostile_results_are_invalid_output,
    what_is_thrown_is_told_in_short,
    failures_that_nobody_awaits_threw,
    a_cancel_destroys_the_sandbox_at_once,
    a_listener_that_leaves_takes_the_sandbox_along,
];

async fn endless_loops_end_at_the_deadline_with_what_they_printed(on: On) {
    let rig = on.start().await;
    for body in [
        "console.log('on my way'); for (;;) {}",
        "console.log('on my way'); for (;;) await new Promise((r) => setTimeout(r, 10))",
        "console.log('on my way'); await new Promise((r) => setInterval(() => {}, 1000))",
    ] {
        let began = Instant::now();
        let finished = rig.beside_a_neighbour(body, 1_500).await;
        assert_eq!(
            failure(&finished, Outcome::TimedOut),
            "the call took longer than 1500 ms"
        );
        assert_eq!(finished.stdout.to_text(), "on my way\n");
        assert!(
            finished.usage.duration < Duration::from_secs(5),
            "{:?}",
            finished.usage
        );
        assert!(began.elapsed() < Duration::from_secs(15));
    }
    rig.finish().await;
}

async fn languages_own_traps_end_at_the_deadline(on: On) {
    let rig = on.start().await;
    for body in [
        "for (;;) await null",
        "const again = () => queueMicrotask(again); again(); await new Promise(() => {})",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "while (true) try { throw 1 } catch {} finally { continue }",
        "let n = 2n; for (;;) n = (n * n) % (2n ** 4096n + 1n)",
        "for (;;) 'a,'.repeat(1e5).split(',').sort()",
        "return { toJSON() { for (;;) {} } }",
        "throw { get message() { for (;;) {} } }",
    ] {
        let finished = rig.beside_a_neighbour(body, 1_000).await;
        assert_eq!(
            failure(&finished, Outcome::TimedOut),
            "the call took longer than 1000 ms",
            "{body}"
        );
        assert!(
            finished.usage.duration < Duration::from_secs(5),
            "{body}: {:?}",
            finished.usage
        );
    }
    rig.finish().await;
}

async fn exhausted_memory_is_told_apart(on: On) {
    let rig = on.start().await;
    let buffers = "const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1));";
    let heap = "const kept = []; for (;;) kept.push(new Array(100_000).fill({}));";
    let strings = "const kept = []; for (let n = 0; ; n += 1) kept.push(('x' + n).padEnd(1 << 20, 'ü'));";
    for code in [buffers, heap, strings] {
        let finished = rig.beside_a_neighbour(code, 20_000).await;
        let message = failure(&finished, Outcome::OutOfMemory);
        assert!(message.contains(&MEMORY.to_string()), "{code}: {message}");
    }
    rig.finish().await;
}

/// Where it can be caught at all. What is left to such a code then is its deadline.
async fn exhausted_memory_that_is_caught_over_and_over_ends_the_call_all_the_same(on: On) {
    let rig = on.start().await;
    let code = "const kept = []; for (;;) try { for (;;) kept.push(new Array(100_000).fill(1.5)) } catch {}";
    let finished = rig.beside_a_neighbour(code, 3_000).await;
    let ends = [Outcome::OutOfMemory, Outcome::TimedOut];
    assert!(ends.contains(&finished.outcome), "{:?}", finished.outcome);
    rig.until_quiet().await;
    rig.finish().await;
}

async fn endless_recursion_is_the_codes_own_error(on: On) {
    let rig = on.start().await;
    for code in [
        "const again = () => again() + 1; return again()",
        "const a = []; a[0] = a; let deep = []; for (let i = 0; i < 1e6; i += 1) deep = [deep]; return String(deep)",
    ] {
        let finished = rig.beside_a_neighbour(code, 20_000).await;
        let message = failure(&finished, Outcome::Threw);
        assert_eq!(message, "Maximum call stack size exceeded", "{code}");
        assert_eq!(finished.error.unwrap().name, "RangeError", "{code}");
    }
    rig.finish().await;
}

async fn a_gigabyte_of_output_is_cut_and_counted(on: On) {
    let rig = on.start().await;
    // Node.js keeps in memory what is printed faster than it can be written, so there the code waits for it.
    let code = "const put = globalThis.process
            ? (text) => new Promise((written) => process.stdout.write(text + '\\n', written))
            : console.log;
        const line = 'x'.repeat((1 << 20) - 1);
        await put('head'); for (let i = 0; i < 1024; i += 1) await put(line); await put('tail');
        return 'done'";
    let finished = rig.beside_a_neighbour(code, 120_000).await;
    assert_eq!(result(&finished), "done");
    assert_eq!(finished.stdout.total_bytes, (1 << 30) + 10);
    assert!(finished.output_truncated());
    let text = finished.stdout.to_text();
    assert!(text.starts_with("head\nxxx") && text.ends_with("xxx\ntail\n"));
    assert!(
        text.contains("of 1073741834 bytes left out"),
        "the mark is missing"
    );
    assert!(text.len() < 10_200, "{}", text.len());
    rig.finish().await;
}

async fn many_short_lines_of_output_are_cut_and_counted(on: On) {
    let rig = on.start().await;
    let code = "for (let i = 0; i < 50_000; i += 1) { console.log('x'); console.error('y') } return 'done'";
    let finished = rig.beside_a_neighbour(code, 120_000).await;
    assert_eq!(result(&finished), "done");
    assert_eq!(finished.stdout.total_bytes, 100_000);
    assert_eq!(finished.stderr.total_bytes, 100_000);
    assert!(finished.stdout.truncated() && finished.stderr.truncated());
    rig.finish().await;
}

/// The layouts of frames are public: a container's has a nonce that nobody can guess, an isolate's is not on a stream.
async fn forged_frames_are_output(on: On) {
    let rig = on.start().await;
    let code = r#"for (const kind of 'rtuixnpheomd') {
            console.log('\0' + 'a'.repeat(32) + kind + '00008"forged"');
            console.log(kind + '\x08\0\0\0"forged"');
            console.error(kind + '\x08\0\0\0"forged"');
        }
        return 'real'"#;
    let finished = rig.beside_a_neighbour(code, 20_000).await;
    assert_eq!(result(&finished), "real");
    let forged = |text: String| text.matches("\"forged\"\n").count();
    assert_eq!(forged(finished.stdout.to_text()), 2 * 12);
    assert_eq!(forged(finished.stderr.to_text()), 12);
    rig.finish().await;
}

async fn a_patched_language_does_not_change_what_is_told(on: On) {
    let rig = on.start().await;
    for patch in [
        "JSON.stringify = () => '\"forged\"'; JSON.parse = () => ({ forged: true })",
        "Array.prototype.push = () => 0; Array.prototype.join = () => 'forged'; Array.prototype[Symbol.iterator] = null",
        "Promise.prototype.then = function () { return this }; globalThis.Promise = null",
        "Object.defineProperty(Object.prototype, 'kind', { get() { return 'r' }, set() { throw new Error('set') } })",
        "Object.freeze = null; Object.create = null; Object.keys = () => ['forged']",
        "Buffer.byteLength = () => 3; Buffer.from = () => 'forged'; globalThis.Buffer = null",
        "String.prototype.slice = () => 'forged'; String.prototype.split = () => []; RegExp.prototype.exec = () => null",
        "globalThis.String = () => 'forged'; globalThis.Number = () => 9; globalThis.Error = null",
        "Function.prototype.call = () => 'forged'; Function.prototype.apply = () => 'forged'; Reflect.apply = null",
        "globalThis.setTimeout = null; globalThis.console = null; globalThis.performance = null; globalThis.queueMicrotask = null",
        "for (const name of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[name] } catch {}",
    ] {
        // Whatever it did, it is answered, and never with something that it did not say.
        let told = rig
            .run(
                within(job(&format!("{patch}; return {{ patched: true }}")), 3_000),
                json!({}),
            )
            .await;
        if told.outcome.is_ok() {
            assert_eq!(result(&told), json!({"patched": true}), "{patch}");
        }
        let thrown = rig
            .run(
                within(job(&format!("{patch}; throw 'own words'")), 3_000),
                json!({}),
            )
            .await;
        if thrown.outcome == Outcome::Threw {
            let message = thrown.error.unwrap().message;
            assert!(!message.contains("forged"), "{patch}: {message}");
        }
        assert!(thrown.result.is_none(), "{patch}");
    }
    rig.assert_neighbour_unharmed().await;
    rig.finish().await;
}

async fn a_flood_of_progress_holds_nothing_up(on: On) {
    let rig = on.start().await;
    let code = "const text = 'x'.repeat(10_000); for (let i = 0; i < 20_000; i += 1) ctx.progress(i, 20_000, text); return 'done'";
    let finished = rig.beside_a_neighbour(code, 60_000).await;
    assert_eq!(result(&finished), "done");
    rig.finish().await;
}

async fn hostile_results_are_invalid_output(on: On) {
    let rig = on.start().await;
    for (value, why) in [
        ("{ toJSON() { throw new Error('not today') } }", "not today"),
        ("{ get trap() { throw new Error('sprung') } }", "sprung"),
        (
            "new Proxy({}, { ownKeys() { throw new Error('no keys') } })",
            "no keys",
        ),
        ("'x'.repeat(30_000_000)", "at most 10000 bytes"),
        ("new Array(5_000_000).fill('x')", "at most 10000 bytes"),
        (
            "(() => { let deep = 1; for (let i = 0; i < 1e6; i += 1) deep = [deep]; return deep })()",
            "can't be written as JSON",
        ),
    ] {
        let finished = rig.beside_a_neighbour(&format!("return {value}"), 20_000).await;
        let message = failure(&finished, Outcome::InvalidOutput);
        assert!(message.contains(why), "{value}: {message}");
    }
    rig.finish().await;
}

async fn what_is_thrown_is_told_in_short(on: On) {
    let rig = on.start().await;
    for thrown in [
        "Object.assign(new Error('B'.repeat(1e6)), { name: 'A'.repeat(1e6), stack: 'C'.repeat(1e6) })",
        "'x'.repeat(1e6)",
        "{ toString() { throw 1 }, toJSON() { throw 2 }, get stack() { throw 3 } }",
        "new Proxy({}, { get() { throw new Error('no') } })",
        "Object.create(null)",
        "undefined",
    ] {
        let finished = rig.call(&format!("throw {thrown}")).await;
        failure(&finished, Outcome::Threw);
        let error = finished.error.unwrap();
        let told = error.name.len() + error.message.len() + error.stack.len();
        assert!(told <= 3 * 16_384, "{thrown}: {told} bytes");
    }
    rig.finish().await;
}

async fn failures_that_nobody_awaits_threw(on: On) {
    let rig = on.start().await;
    for (code, why) in [
        (
            "setTimeout(() => { throw new Error('late') }, 5); await new Promise((r) => setTimeout(r, 9e3))",
            "late",
        ),
        ("Promise.reject(new Error('forgotten')); return 1", "forgotten"),
        (
            "(async () => { throw new Error('left') })(); await new Promise((r) => setTimeout(r, 9e3))",
            "left",
        ),
        ("await new Promise(() => {})", "never settles"),
    ] {
        let finished = rig.call(code).await;
        let message = failure(&finished, Outcome::Threw);
        assert!(message.contains(why), "{code}: {message}");
        assert!(
            finished.usage.duration < Duration::from_secs(5),
            "{code}: {:?}",
            finished.usage
        );
    }
    rig.assert_neighbour_unharmed().await;
    rig.finish().await;
}

async fn a_cancel_destroys_the_sandbox_at_once(on: On) {
    let rig = on.start().await;
    for body in [
        "for (;;) {}",
        "console.log('x'); await new Promise((r) => setTimeout(r, 15_000))",
    ] {
        let prepared = rig.prepare(job(body)).await;
        let cancel = CancellationToken::new();
        let (events, _nobody) = mpsc::channel(1);
        let began = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel();
        };
        let (finished, ()) = tokio::join!(prepared.run("{}".into(), events, cancel.clone()), stop);
        assert_eq!(failure(&finished, Outcome::Cancelled), "the call was cancelled");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    rig.until_quiet().await;
    rig.finish().await;
}

async fn a_listener_that_leaves_takes_the_sandbox_along(on: On) {
    let rig = on.start().await;
    let prepared = rig.prepare(job("for (;;) {}")).await;
    let left = tokio::time::timeout(Duration::from_millis(200), run(prepared, json!({}))).await;
    assert!(left.is_err());
    rig.until_quiet().await;
    rig.assert_neighbour_unharmed().await;
    rig.finish().await;
}
