//! Code that means harm: each case ends cleanly, and never with something that it did not return.

use dynamic_mcp_quickjs::Ending;
use serde_json::json;

use crate::rig::{Rig, ending, result, threw, value};

#[test]
fn memory_bombs_meet_the_limit() {
    for code in [
        "const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1))",
        "const kept = []; for (;;) kept.push(new Array(100_000).fill({}))",
        "const kept = []; for (;;) kept.push({ a: kept.length })",
        "const kept = []; for (;;) kept.push('x'.repeat(1e6) + kept.length)",
        "let s = 'x'; for (;;) s += s + 'ü'.repeat(100)",
        "const m = new Map(); for (let i = 0; ; i += 1) m.set(i, [i])",
        "const kept = []; for (;;) kept.push(new Promise(() => {}))",
        "const f = async () => { const kept = []; for (;;) { kept.push(new Array(1e4).fill(1.5)); await null } }; await f()",
        "const kept = []; for (;;) kept.push(Symbol('x' + kept.length))",
        "const kept = []; for (;;) kept.push(setTimeout(() => {}, 9e5))",
        "return 'x'.repeat(40e6)",
        "return new Array(5e6).fill('abcdef')",
        "return JSON.parse('[' + '[],'.repeat(1e7) + '1]')",
    ] {
        let ended = ending(code);
        let fine = match &ended {
            Ending::OutOfMemory | Ending::InvalidOutput(_) => true,
            // A string or an array that no engine allows.
            Ending::Threw(report) => ["RangeError", "InternalError"].contains(&report.name.as_str()),
            _ => false,
        };
        assert!(fine, "{code}: {ended:?}");
    }
}

#[test]
fn running_out_of_memory_can_be_survived() {
    assert_eq!(
        result(
            "try { const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20)) } catch { return 'went on' }"
        ),
        "went on"
    );
}

#[test]
fn recursion_ends_as_a_range_error() {
    for code in [
        "const f = () => f(); f()",
        "const f = () => { try { f() } finally { f() } }; f()",
        "class A { get x() { return this.x } } new A().x",
        "const a = []; a[0] = a; a.toString = () => `${a}`; `${a}`",
        "let o = {}; for (let i = 0; i < 1e5; i += 1) o = { o }; structuredClone(o)",
        "let p = {}; for (let i = 0; i < 1e5; i += 1) p = new Proxy(p, {}); p.x",
        "JSON.parse('['.repeat(1e6))",
        "const f = (n) => new Function('return ' + '('.repeat(n) + ')'.repeat(n)); f(1e5)",
        "new RegExp('('.repeat(1e5) + ')'.repeat(1e5))",
    ] {
        let mut rig = Rig::within(std::time::Duration::from_secs(3));
        match rig.call(code) {
            Ending::Threw(report) => assert!(
                ["RangeError", "SyntaxError", "InternalError"].contains(&report.name.as_str()),
                "{code}: {report:?}"
            ),
            Ending::Interrupted | Ending::OutOfMemory => {}
            other => panic!("{code}: {other:?}"),
        }
    }
    assert_eq!(
        threw("const f = () => f(); f()").message,
        "Maximum call stack size exceeded"
    );
}

#[test]
fn deep_json_ends_cleanly_in_both_directions() {
    let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let mut rig = Rig::new();
    let ended = rig.call_with(Some("return 1"), &format!(r#"{{"a":{}}}"#, deep(1_000)));
    assert_eq!(value(&ended), 1);
    let ended = rig.call_with(Some("return 1"), &format!(r#"{{"a":{}}}"#, deep(100_000)));
    assert!(matches!(ended, Ending::Threw(_) | Ending::Result(_)), "{ended:?}");
    let ended = rig.call("let a = 1; for (let i = 0; i < 40_000; i += 1) a = [a]; return a");
    assert!(
        matches!(ended, Ending::InvalidOutput(_) | Ending::Result(_)),
        "{ended:?}"
    );
    let ended = rig.call("let a = 1; for (let i = 0; i < 1e6; i += 1) a = { a }; return a");
    assert!(
        matches!(ended, Ending::InvalidOutput(_) | Ending::OutOfMemory),
        "{ended:?}"
    );
    let ended = rig.call("let a = 1; for (let i = 0; i < 1e5; i += 1) a = { a }; console.log(a); return 1");
    assert_eq!(value(&ended), 1);
}

#[test]
fn a_million_lines_are_all_told() {
    let mut rig = Rig::new();
    assert_eq!(
        value(&rig.call("for (let i = 0; i < 1e6; i += 1) console.log('line'); return 1")),
        1
    );
    assert_eq!(rig.heard.borrow().lines, 1_000_000);
}

#[test]
fn errors_with_traps_in_them_are_described() {
    for code in [
        "const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { throw 1 } }); throw e",
        "const e = new Error('x'); e.stack = { toString() { throw 1 } }; throw e",
        "const e = new Error('x'); Object.defineProperty(e, 'message', { get() { throw e } }); throw e",
        "throw new Proxy(new Error('x'), { get() { throw 1 }, getPrototypeOf() { throw 2 } })",
        "Error.prepareStackTrace = () => { throw 1 }; throw new Error('x')",
        "Error.prepareStackTrace = () => ({}); throw new Error('x')",
        "Error.stackTraceLimit = -1; throw new Error('x')",
        "Error.prototype.name = { toString() { throw 1 } }; throw new Error('x')",
        "Object.defineProperty(Error.prototype, 'stack', { get() { throw 1 } }); throw new Error('x')",
        "throw Object.create(Error.prototype)",
        "throw '\\ud800'",
        "throw new Error('\\ud800')",
    ] {
        assert!(matches!(ending(code), Ending::Threw(_)), "{code}");
    }
    assert!(matches!(
        ending("console.log(new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 } })); return 1"),
        Ending::Result(_)
    ));
}

const PATCHES: &[&str] = &[
    "JSON.stringify = () => '\"forged\"'; JSON.parse = () => ({ forged: true });",
    "Array.prototype.push = () => 0; Array.prototype.join = () => 'forged'; Array.prototype[Symbol.iterator] = null;",
    "Promise.prototype.then = function () { return this }; globalThis.Promise = null;",
    "Promise.prototype.constructor = class { static resolve() { throw 1 } };",
    "Object.defineProperty(Object.prototype, 'kind', { get() { return 'r' }, set() { throw new Error('set') } }); Object.freeze = null;",
    "for (const n of ['name', 'message', 'stack', 'memory', 'value', 'reason', 'promise', 'get', 'set', 'writable']) Object.defineProperty(Object.prototype, n, { __proto__: null, get() { return 'forged' }, set() { throw 1 } });",
    "Object.defineProperty(Object.prototype, 0, { get() { return 'forged' }, set() { throw 1 } });",
    "Buffer.byteLength = () => 3; Buffer.from = null; globalThis.Buffer = null;",
    "String.prototype.slice = () => 'forged'; String.prototype.split = () => []; RegExp.prototype.exec = () => null;",
    "Function.prototype.call = null; Function.prototype.apply = null; Function.prototype.bind = null; Reflect.apply = null;",
    "Number.isFinite = () => true; globalThis.Number = null; globalThis.String = null; globalThis.Math = null;",
    "for (const name of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[name] } catch {}",
    "for (const name of Object.getOwnPropertyNames(globalThis)) try { globalThis[name] = null } catch {}",
];

#[test]
fn a_patched_language_forges_nothing() {
    for patch in PATCHES {
        let mut rig = Rig::new();
        let ended = rig.call(&format!("{patch} return {{ patched: true }};"));
        assert_eq!(value(&ended), json!({"patched": true}), "{patch}");
        assert_eq!(value(&rig.call("return args.n ?? 7")), 7, "after {patch}");
        let ended = rig.call("throw new TypeError('mine')");
        assert!(matches!(ended, Ending::Threw(_)), "{patch}: {ended:?}");
    }
}

#[test]
fn the_parts_of_the_runtime_can_not_be_reached() {
    let code = "const seen = []; const was = Function.prototype.call;
        Error.prepareStackTrace = (error, sites) => { for (const site of sites) { seen.push(typeof site.getFunction?.(), site.getThis?.() === undefined) } return 'x' };
        new Error('x').stack; setTimeout(() => { new Error('y').stack }, 0); await new Promise((r) => setTimeout(r, 5));
        return [typeof internal, typeof natives, typeof engine, new Set(seen).has('object')]";
    assert_eq!(
        result(code),
        json!(["undefined", "undefined", "undefined", false])
    );
}
