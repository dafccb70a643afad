//! Code that prints what nobody should have to read, or pretends to be the runner.

use anyhow::{Context, Result};
use dynamic_mcp_tests::measured::measured;

use super::{LONG, SHORT, Ward, assert_ended};

#[tokio::test]
async fn a_gigabyte_of_output_is_truncated_and_the_result_arrives() -> Result<()> {
    let ward = Ward::start().await?;
    let code = "const { once } = await import('node:events'); \
        const chunk = 'x'.repeat(1 << 20); \
        process.stdout.write('the head\\n'); \
        for (let i = 0; i < 1024; i += 1) if (!process.stdout.write(chunk)) await once(process.stdout, 'drain'); \
        process.stdout.write('\\nthe tail'); \
        return 'done';";
    let ended = ward.run(code, LONG * 2).await?;
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
        stdout.starts_with("the head\n") && stdout.ends_with("\nthe tail"),
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

#[tokio::test]
async fn endless_output_ends_at_the_timeout_and_is_kept_up_to_the_cap() -> Result<()> {
    let ward = Ward::start().await?;
    let code = "const { writeSync } = await import('node:fs'); \
        const chunk = 'y'.repeat(1 << 16); \
        for (;;) { try { writeSync(1, chunk); writeSync(2, chunk); } catch {} }";
    let ended = ward.run(code, SHORT).await?;
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
#[tokio::test]
async fn forged_frames_are_plain_output() -> Result<()> {
    let ward = Ward::start().await?;
    let code = "const { writeSync } = await import('node:fs'); \
        const frame = (kind) => '\\0' + 'a'.repeat(32) + kind + '0' + '0008' + '\"forged\"'; \
        for (const kind of 'rtuixnphe') for (const fd of [1, 2, 4, 5]) writeSync(fd, frame(kind)); \
        writeSync(1, '\\0'.repeat(5000)); \
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

#[tokio::test]
async fn closing_its_own_output_only_silences_the_code() -> Result<()> {
    let ward = Ward::start().await?;
    for code in [
        "process.stdout.end(); return 1;",
        "process.stdout.destroy(); process.stderr.destroy(); return 1;",
        "const { closeSync } = await import('node:fs'); closeSync(1); closeSync(2); return 1;",
        "const { closeSync } = await import('node:fs'); closeSync(0); return 1;",
        "process.stdout.write = () => { throw new Error('no'); }; return 1;",
    ] {
        let ended = ward.run(code, LONG).await?;
        assert_eq!(
            (&ended["outcome"], &ended["result"]),
            (&"ok".into(), &1.into()),
            "{code}: {ended}"
        );
    }
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn closing_the_runners_channel_ends_the_call_at_once() -> Result<()> {
    let ward = Ward::start().await?;
    for code in [
        "const { closeSync } = await import('node:fs'); closeSync(4); return 1;",
        "const { closeSync } = await import('node:fs'); \
            for (let fd = 0; fd < 64; fd += 1) try { closeSync(fd); } catch {} \
            return 1;",
        "const { closeSync, openSync } = await import('node:fs'); closeSync(4); openSync('/dev/null', 'w'); return 1;",
    ] {
        let ended = ward.run(code, LONG).await?;
        let (outcome, error) = super::told(&ended);
        measured(format!("{code}: {outcome}: {error}"));
        assert_eq!(outcome, "threw", "{code}: {ended}");
        assert!(
            ended["durationMs"].as_u64().is_some_and(|took| took < 10_000),
            "{code}: {ended}"
        );
    }
    ward.stop().await;
    Ok(())
}
