//! What a well-behaved tool can rely on.

use dynamic_mcp_quickjs::Ending;
use serde_json::{Value, json};

use crate::rig::{Rig, ending, result, threw, value};

#[test]
fn a_call_gets_its_arguments_and_gives_its_result() {
    let mut rig = Rig::new();
    let ended = rig.call_with(
        Some("return { sum: args.a + args.b, text: 'ü' }"),
        r#"{"a":1,"b":2}"#,
    );
    assert_eq!(ended, Ending::Result(r#"{"sum":3,"text":"ü"}"#.to_owned()));
    assert_eq!(value(&rig.call("")), Value::Null);
}

#[test]
fn what_is_printed_is_output_on_its_own_stream() {
    let mut rig = Rig::new();
    rig.call("console.log('one'); console.error('two'); console.info('three'); console.warn('four\\nfive')");
    assert_eq!(rig.stdout(), "one\nthree\n");
    assert_eq!(rig.heard.borrow().stderr, "two\nfour\nfive\n");
}

#[test]
fn a_throw_carries_name_message_and_the_bodys_own_lines() {
    let report = threw("const x = 1;\n\n  throw new TypeError('no ' + x);");
    assert_eq!(
        (report.name.as_str(), report.message.as_str()),
        ("TypeError", "no 1")
    );
    // The engine's columns are those of the last part of an expression, V8's those of its first.
    assert_eq!(report.stack, "TypeError: no 1\n    at run (tool.mjs:3:31)");
    let report = threw("throw new Error('first line')");
    assert_eq!(report.stack, "Error: first line\n    at run (tool.mjs:1:11)");
    let report = threw("const f = () => { throw new Error('deep') };\n[1].map(() => f())");
    let frames: Vec<&str> = report.stack.lines().collect();
    assert_eq!(frames[1], "    at f (tool.mjs:1:29)");
    assert!(frames[2].starts_with("    at tool.mjs:2:"), "{}", report.stack);
    assert!(
        report.stack.ends_with("    at run (tool.mjs:2:5)"),
        "{}",
        report.stack
    );
}

#[test]
fn a_syntax_error_says_where() {
    let report = threw("const a = 1;\nlet b = ;\nreturn a");
    assert_eq!(report.name, "SyntaxError");
    let shown = "tool.mjs:2\nlet b = ;\n        ^\n\nSyntaxError: unexpected token in expression: ';'\n    at tool.mjs:2:9";
    assert_eq!(report.stack, shown);
    assert_eq!(result("return 1 }\nexport const x = 2; {"), 1);
    assert_eq!(threw("'a\0b'; return 'not closed").name, "SyntaxError");
}

#[test]
fn anything_can_be_thrown() {
    for (thrown, message) in [
        ("'text'", "text"),
        ("null", "null"),
        ("undefined", "undefined"),
        ("{ code: 7 }", r#"{"code":7}"#),
        ("{ get message() { throw 1 } }", "object"),
        ("Symbol('s')", "Symbol(s)"),
        ("{ message: 'like an error' }", "like an error"),
        (
            "new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 } })",
            "object",
        ),
        (
            "Object.assign(new Error('x'), { name: { toString() { throw 1 } } })",
            "x",
        ),
    ] {
        assert_eq!(threw(&format!("throw {thrown}")).message, message, "{thrown}");
    }
    let long = threw("throw new Error('x'.repeat(100_000))");
    assert_eq!(long.message.len(), 16_384);
}

#[test]
fn a_body_may_declare_a_ctx_of_its_own() {
    assert_eq!(result("const ctx = 5; return ctx"), 5);
    assert_eq!(result("let ctx; return typeof ctx"), "undefined");
}

#[test]
fn the_code_is_strict_and_has_no_this() {
    assert_eq!(
        result("return [this === undefined, (function () { return this })() === undefined]"),
        json!([true, true])
    );
    assert_eq!(threw("undeclared = 1").name, "ReferenceError");
}

#[test]
fn progress_is_told_while_the_call_runs_and_not_after() {
    let mut rig = Rig::new();
    let code = "globalThis.kept ??= ctx; ctx.progress(1, 3, 'a'); ctx.progress('2', 'x');
        try { ctx.progress('x') } catch (e) { return [e.name, e.message, Object.isFrozen(ctx)] }";
    assert_eq!(
        value(&rig.call(code)),
        json!([
            "TypeError",
            "ctx.progress(progress, total?, message?) takes a number",
            true
        ])
    );
    let told = json!([{"progress": 1, "total": 3, "message": "a"}, {"progress": 2}]);
    assert_eq!(json!(rig.heard.borrow().progress), told);
    rig.call("globalThis.kept.progress(9)");
    assert_eq!(rig.heard.borrow().progress.len(), 2);
}

#[test]
fn results_that_json_cannot_hold_are_invalid_output() {
    for (value, why) in [
        ("1n", "the result can't be written as JSON: "),
        ("() => 1", "the result can't be written as JSON: it is a function"),
        (
            "Symbol('s')",
            "the result can't be written as JSON: it is a symbol",
        ),
        ("(() => { const a = {}; a.a = a; return a })()", "circular"),
        (
            "'é'.repeat(60_000)",
            "the result is 120002 bytes of JSON; at most 100000 bytes are allowed (MCP_SANDBOX_MAX_OUTPUT_BYTES)",
        ),
    ] {
        match ending(&format!("return {value}")) {
            Ending::InvalidOutput(message) => assert!(message.contains(why), "{value}: {message}"),
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn large_arguments_and_results_arrive_whole() {
    let text = "é".repeat(40_000);
    let mut rig = Rig::new();
    let args = json!({ "text": text }).to_string();
    assert_eq!(value(&rig.call_with(Some("return args.text"), &args)), text);
    assert_eq!(
        ending("return ['\\ud800', 'a\\0b']"),
        Ending::Result(r#"["\ud800","a\u0000b"]"#.to_owned())
    );
}

#[test]
fn a_process_has_random_numbers_of_its_own() {
    let numbers = "return [Math.random(), Math.random()]";
    assert_eq!(result(numbers), result(numbers));
    let drawn = result(numbers);
    assert_ne!(drawn[0], drawn[1]);
}
