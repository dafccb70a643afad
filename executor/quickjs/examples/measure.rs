//! What a realm costs: the time to warm it, its memory, and the time of a call. Run it under `strace -f` to see which
//! system calls are made after the line that begins with "warmed".

use std::io::Write as _;
use std::time::{Duration, Instant};

use dynamic_mcp_quickjs::{Call, Ending, Host, Realm, Settings, Stream};

struct Nobody;

impl Host for Nobody {
    fn print(&mut self, _: Stream, _: &[u8]) {}
    fn progress(&mut self, _: &str) {}
    fn interrupted(&mut self) -> bool {
        false
    }
    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

const EVERYTHING: &str = "console.log({ a: [new Error('x'), new Date()] });
    const { createHash } = await import('node:crypto');
    await new Promise((resolve) => setTimeout(resolve, 2));
    new URL('http://bücher.example/?a=b').searchParams.append('c', 'd');
    structuredClone(new Map([[1, { a: 'x'.repeat(1e6) }]]));
    ctx.progress(1);
    try { await import('node:fs') } catch {}
    try { const f = () => f(); f() } catch {}
    const kept = []; for (let i = 0; i < 1e5; i += 1) kept.push({ i });
    return [createHash('sha256').update(crypto.randomUUID()).digest('hex'), new Date(2024, 5).toString(), Math.random(), /(a+)+b/.test('aaaa')]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let began = Instant::now();
    let mut realm = Realm::warm(&Settings {
        memory_bytes: 64 << 20,
        stack_bytes: 1 << 20,
    })?;
    writeln!(
        out,
        "warmed in {:?}, {} bytes of heap",
        began.elapsed(),
        realm.memory_bytes()
    )?;
    realm.begin([7; 32], Box::new(Nobody));
    for (name, code) in [
        ("first trivial call", "return args.a + 1"),
        ("second trivial call", "return args.a + 1"),
        ("everything", EVERYTHING),
        (
            "10,000,000 additions",
            "let n = 0; for (let i = 0; i < 1e7; i += 1) n += i; return n",
        ),
    ] {
        let began = Instant::now();
        let ending = realm.call(Call {
            code: Some(code),
            args_json: r#"{"a":1}"#,
            max_result_bytes: 10_000,
        });
        writeln!(
            out,
            "{name}: {:?}, a result: {}",
            began.elapsed(),
            matches!(ending, Ending::Result(_))
        )?;
    }
    Ok(())
}
