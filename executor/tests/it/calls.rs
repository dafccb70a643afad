//! What a well-behaved tool can rely on.

use dynamic_mcp_shared::job::{JobEvent, Placement, Progress};
use dynamic_mcp_shared::limits::ByteSize;
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::rig::{On, failure, job, result, run};

on_every_engine![
    a_call_gets_its_arguments_and_gives_its_result,
    undefined_is_null,
    modules_that_every_runtime_has_can_be_imported,
    what_is_printed_is_output_on_its_own_stream,
    a_throw_carries_name_message_and_the_bodys_own_lines,
    a_syntax_error_says_where,
    anything_can_be_thrown,
    a_body_may_declare_a_ctx_of_its_own,
    progress_arrives_while_the_call_runs,
    large_arguments_and_results_arrive_whole,
    results_that_json_cannot_hold_are_invalid_output,
    a_job_may_be_given_less_memory_than_the_others,
    an_unused_sandbox_goes_back,
];

async fn a_call_gets_its_arguments_and_gives_its_result(on: On) {
    let rig = on.start().await;
    let prepared = rig
        .prepare(job("return { sum: args.a + args.b, text: 'ü' }"))
        .await;
    assert_eq!(prepared.placement(), Placement::Warm);
    let finished = run(prepared, json!({"a": 1, "b": 2})).await;
    assert_eq!(result(&finished), json!({"sum": 3, "text": "ü"}));
    rig.finish().await;
}

async fn undefined_is_null(on: On) {
    let rig = on.start().await;
    assert_eq!(result(&rig.call("").await), Value::Null);
    assert_eq!(result(&rig.call("return undefined").await), Value::Null);
    rig.finish().await;
}

async fn modules_that_every_runtime_has_can_be_imported(on: On) {
    let rig = on.start().await;
    let code =
        "const { inspect } = await import('node:util'); const { EventEmitter } = await import('events');
        const { join } = await import('node:path'); const { Buffer: same } = await import('node:buffer');
        return [inspect({ a: 1 }), typeof EventEmitter, join('a', '..', 'b'), same === Buffer]";
    assert_eq!(
        result(&rig.call(code).await),
        json!(["{ a: 1 }", "function", "b", true])
    );
    rig.finish().await;
}

async fn what_is_printed_is_output_on_its_own_stream(on: On) {
    let rig = on.start().await;
    let finished = rig
        .call("console.log('one'); console.error('two'); console.log('three'); return 1")
        .await;
    assert_eq!(result(&finished), 1);
    assert_eq!(finished.stdout.to_text(), "one\nthree\n");
    assert_eq!(finished.stderr.to_text(), "two\n");
    rig.finish().await;
}

async fn a_throw_carries_name_message_and_the_bodys_own_lines(on: On) {
    let rig = on.start().await;
    let finished = rig
        .call("const x = 1;\n\n  throw new TypeError('no ' + x);")
        .await;
    assert_eq!(failure(&finished, Outcome::Threw), "no 1");
    let error = finished.error.unwrap();
    assert_eq!(error.name, "TypeError");
    assert_at(&error.stack, "TypeError: no 1\n    at run (tool.mjs:3:");

    let finished = rig.call("throw new Error('first line')").await;
    let error = finished.error.unwrap();
    assert_at(&error.stack, "Error: first line\n    at run (tool.mjs:1:");
    rig.finish().await;
}

/// The column is the engine's own affair; the line is the author's.
fn assert_at(stack: &str, place: &str) {
    let column = stack.strip_prefix(place).and_then(|rest| rest.strip_suffix(')'));
    let is_one = column.is_some_and(|column| column.parse::<u32>().is_ok());
    assert!(is_one, "{stack} is not at {place}");
}

async fn a_syntax_error_says_where(on: On) {
    let rig = on.start().await;
    let finished = rig.call("const a = 1;\nlet b = ;\nreturn a").await;
    let message = failure(&finished, Outcome::Threw);
    assert!(message.to_lowercase().contains("unexpected token"), "{message}");
    assert!(message.contains("';'"), "{message}");
    let error = finished.error.unwrap();
    assert_eq!(error.name, "SyntaxError");
    assert!(error.stack.contains("tool.mjs:2"), "{}", error.stack);

    let finished = rig.call("return 1 }\nexport const x = 2; {").await;
    assert_eq!(result(&finished), 1);
    rig.finish().await;
}

async fn anything_can_be_thrown(on: On) {
    let rig = on.start().await;
    for (thrown, message) in [
        ("'text'", "text"),
        ("null", "null"),
        ("{ code: 7 }", r#"{"code":7}"#),
        ("{ get message() { throw 1 } }", "object"),
        ("Symbol('s')", "Symbol(s)"),
    ] {
        let finished = rig.call(&format!("throw {thrown}")).await;
        assert_eq!(failure(&finished, Outcome::Threw), message, "{thrown}");
    }
    rig.finish().await;
}

async fn a_body_may_declare_a_ctx_of_its_own(on: On) {
    let rig = on.start().await;
    assert_eq!(result(&rig.call("const ctx = 5; return ctx").await), 5);
    rig.finish().await;
}

async fn progress_arrives_while_the_call_runs(on: On) {
    let rig = on.start().await;
    let code =
        "ctx.progress(1, 3, 'a'); ctx.progress(2); try { ctx.progress('x') } catch (e) { return e.name }";
    let prepared = rig.prepare(job(code)).await;
    let (sender, mut events) = mpsc::channel(8);
    let finished = prepared.run("{}".into(), sender, CancellationToken::new()).await;
    assert_eq!(result(&finished), "TypeError");
    for said in [(1.0, Some(3.0), Some("a".to_owned())), (2.0, None, None)] {
        let (progress, total, message) = said;
        let report = Progress {
            progress,
            total,
            message,
        };
        assert_eq!(events.recv().await, Some(JobEvent::Progress(report)));
    }
    assert_eq!(events.recv().await, None);
    rig.finish().await;
}

async fn large_arguments_and_results_arrive_whole(on: On) {
    let rig = on.start().await;
    let mut large = job("return args.text");
    large.max_output_bytes = 200_000;
    let text = "é".repeat(90_000);
    let finished = rig.run(large, json!({ "text": text })).await;
    assert_eq!(result(&finished), Value::String(text));
    rig.finish().await;
}

async fn results_that_json_cannot_hold_are_invalid_output(on: On) {
    let rig = on.start().await;
    for (value, why) in [
        ("1n", "BigInt"),
        ("() => 1", "it is a function"),
        ("Symbol('s')", "it is a symbol"),
        ("(() => { const a = {}; a.a = a; return a })()", "circular"),
        ("'x'.repeat(20_000)", "20002 bytes of JSON; at most 10000 bytes"),
    ] {
        let finished = rig.call(&format!("return {value}")).await;
        let message = failure(&finished, Outcome::InvalidOutput);
        assert!(message.contains(why), "{value}: {message}");
    }
    rig.finish().await;
}

async fn a_job_may_be_given_less_memory_than_the_others(on: On) {
    let rig = on.start().await;
    let hoards = "const all = []; \
        for (let n = 0; n < 90; n += 1) all.push(new Uint8Array(1 << 20).fill(1)); return all.length";
    let mut small = job(hoards);
    small.max_memory = Some(ByteSize(64 << 20));
    let finished = rig.run(small, json!({})).await;
    assert_eq!(finished.outcome, Outcome::OutOfMemory, "{:?}", finished.error);
    let finished = rig.run(job(hoards), json!({})).await;
    assert_eq!(result(&finished), 90);
    rig.finish().await;
}

async fn an_unused_sandbox_goes_back(on: On) {
    let rig = on.start().await;
    drop(rig.prepare(job("return 1")).await);
    rig.until_quiet().await;
    assert_eq!(result(&rig.call("return 2").await), 2);
    rig.finish().await;
}
