//! Code that prints what nobody should have to read, or pretends to be the runner.

use anyhow::{Context, Result};
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;

use super::{LONG, SHORT, Ward, assert_ended};

/// Node.js keeps in memory what is printed faster than it can be written, so there the code waits for it.
const PUT: &str = "const put = globalThis.process \
    ? (to, text) => new Promise((written) => process[to === 'log' ? 'stdout' : 'stderr'].write(text + '\\n', written)) \
    : (to, text) => console[to](text);";

dynamic_mcp_tests::on_every_engine![
    a_gigabyte_of_output_is_truncated_and_the_result_arrives,
    endless_output_ends_at_the_timeout_and_is_kept_up_to_the_cap,
    forged_frames_are_plain_output,
];

async fn a_gigabyte_of_output_is_truncated_and_the_result_arrives(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let code = format!(
        "{PUT} const line = 'x'.repeat((1 << 20) - 1); \
        await put('log', 'the head'); \
        for (let i = 0; i < 1024; i += 1) await put('log', line); \
        await put('log', 'the tail'); \
        return 'done';"
    );
    let ended = ward.run(&code, LONG * 2).await?;
    measured(format!("a gigabyte: {} ms", ended["durationMs"]));
    assert_eq!(
        (&ended["outcome"], &ended["result"]),
        (&"ok".into(), &"done".into()),
        "{ended}"
    );
    assert_eq!(ended["outputTruncated"], true);
    assert_eq!(ended["outputBytes"], (1 << 30) + 18);
    let stdout = ended["stdout"].as_str().context("what was printed")?;
    assert!(stdout.len() < 210_000, "{} bytes came back", stdout.len());
    assert!(
        stdout.starts_with("the head\n") && stdout.ends_with("\nthe tail\n"),
        "head or tail is missing"
    );
    let mark = stdout
        .lines()
        .find(|line| line.contains("bytes"))
        .context("a mark where it was cut")?;
    measured(format!("the mark: {}", mark.trim_matches('x')));
    ward.stop().await;
    Ok(())
}

async fn endless_output_ends_at_the_timeout_and_is_kept_up_to_the_cap(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let code = format!(
        "{PUT} const chunk = 'y'.repeat(1 << 16); for (;;) {{ await put('log', chunk); await put('error', chunk); }}"
    );
    let ended = ward.run(&code, SHORT).await?;
    assert_ended(&ended, "timed_out", "2000 ms");
    assert_eq!(ended["outputTruncated"], true);
    for stream in ["stdout", "stderr"] {
        let kept = ended[stream].as_str().context("what was printed")?;
        assert!(
            (1_000..210_000).contains(&kept.len()),
            "{} bytes of {stream} came back",
            kept.len()
        );
    }
    ward.stop().await;
    Ok(())
}

/// The layout of a frame is public; the nonce of the call is not.
async fn forged_frames_are_plain_output(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let code = "const frame = (kind) => '\\0' + 'a'.repeat(32) + kind + '0' + '0008' + '\"forged\"'; \
        for (const kind of 'rtuixnphe') { console.log(frame(kind)); console.error(frame(kind)); } \
        for (let kind = 0; kind < 16; kind += 1) console.log(String.fromCharCode(kind) + '\\x08\\0\\0\\0\"forged\"'); \
        console.log('\\0'.repeat(5000)); \
        return 'real';";
    let ended = ward.run(code, LONG).await?;
    assert_eq!(
        (&ended["outcome"], &ended["result"]),
        (&"ok".into(), &"real".into()),
        "{ended}"
    );
    assert!(
        ended["stdout"]
            .as_str()
            .is_some_and(|stdout| stdout.contains("forged")),
        "{ended}"
    );
    ward.stop().await;
    Ok(())
}
