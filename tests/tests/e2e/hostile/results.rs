//! Results that are none.

use anyhow::Result;
use dynamic_mcp_tests::on::On;

use super::{LONG, Ward, assert_ended};

dynamic_mcp_tests::on_every_engine![
    what_is_not_json_is_an_invalid_output_that_says_why,
    a_huge_result_is_refused_with_the_limit,
    a_deep_result_arrives_or_is_refused_as_what_it_is,
    whatever_is_thrown_is_told,
];

async fn what_is_not_json_is_an_invalid_output_that_says_why(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    for (code, why) in [
        ("return 10n;", "BigInt"),
        ("const a = {}; a.a = a; return a;", "circular"),
        ("return () => 1;", "function"),
        ("return Symbol('s');", "symbol"),
        (
            "return { toJSON() { throw new Error('not today'); } };",
            "not today",
        ),
        ("return { get trap() { throw new Error('sprung'); } };", "sprung"),
        (
            "return new Proxy({}, { ownKeys() { throw new Error('no keys'); } });",
            "no keys",
        ),
        (
            "let deep = 1; for (let i = 0; i < 1_000_000; i += 1) deep = [deep]; return deep;",
            "can't be written as JSON",
        ),
    ] {
        assert_ended(&ward.run(code, LONG).await?, "invalid_output", why);
    }
    ward.stop().await;
    Ok(())
}

async fn a_huge_result_is_refused_with_the_limit(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    for code in ["return 'x'.repeat(1_000_000);", "return 'x'.repeat(30_000_000);"] {
        assert_ended(
            &ward.run(code, LONG).await?,
            "invalid_output",
            "MCP_SANDBOX_MAX_OUTPUT_BYTES",
        );
    }
    ward.stop().await;
    Ok(())
}

/// JavaScript nests deeper than most readers of JSON go.
async fn a_deep_result_arrives_or_is_refused_as_what_it_is(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let nested = |depth: usize| {
        format!("let deep = 1; for (let i = 0; i < {depth}; i += 1) deep = [deep]; return deep;")
    };
    let ended = ward.run(&nested(100), LONG).await?;
    assert_eq!(ended["outcome"], "ok", "{ended}");
    assert_ended(
        &ward.run(&nested(1_000), LONG).await?,
        "invalid_output",
        "1000 levels",
    );
    ward.stop().await;
    Ok(())
}

async fn whatever_is_thrown_is_told(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    for (code, text) in [
        ("throw new TypeError('plain');", "TypeError: plain"),
        ("throw 'a string';", "a string"),
        ("throw null;", ""),
        ("throw { get message() { throw 1; } };", ""),
        ("throw new Proxy({}, { get() { throw new Error('no'); } });", ""),
        (
            "throw Object.assign(new Error('x'), { name: 'A'.repeat(1_000_000), message: 'B'.repeat(1_000_000) });",
            "",
        ),
    ] {
        let ended = ward.run(code, LONG).await?;
        assert_ended(&ended, "threw", text);
        assert!(
            ended.to_string().len() < 100_000,
            "{code}: {} bytes came back",
            ended.to_string().len()
        );
    }
    ward.stop().await;
    Ok(())
}
