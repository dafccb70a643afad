//! Code that writes to descriptors, or closes them.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;

use crate::hostile::{LONG, Ward, told};

/// The layout of a frame is public; the nonce of the call is not.
#[tokio::test]
async fn forged_frames_are_plain_output_on_whatever_descriptor() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
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
    let ward = Ward::start(On::Docker).await?;
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
    let ward = Ward::start(On::Docker).await?;
    for code in [
        "const { closeSync } = await import('node:fs'); closeSync(4); return 1;",
        "const { closeSync } = await import('node:fs'); \
            for (let fd = 0; fd < 64; fd += 1) try { closeSync(fd); } catch {} \
            return 1;",
        "const { closeSync, openSync } = await import('node:fs'); closeSync(4); openSync('/dev/null', 'w'); return 1;",
    ] {
        let ended = ward.run(code, LONG).await?;
        let (outcome, error) = told(&ended);
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
