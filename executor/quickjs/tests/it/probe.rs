use dynamic_mcp_quickjs::*;
use std::time::Duration;
struct Quiet;
impl Host for Quiet {
    fn print(&mut self, s: Stream, b: &[u8]) {
        print!(
            "{}{}",
            if s == Stream::Stderr { "E " } else { "" },
            String::from_utf8_lossy(b)
        );
    }
    fn progress(&mut self, j: &str) {
        println!("PROGRESS {j}");
    }
    fn interrupted(&mut self) -> bool {
        false
    }
    fn sleep(&mut self, d: Duration) {
        std::thread::sleep(d);
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}
#[test]
fn probe() {
    let t = std::time::Instant::now();
    let mut realm = Realm::warm(&Settings {
        memory_bytes: 64 << 20,
        stack_bytes: 1 << 20,
    })
    .unwrap_or_else(|e| panic!("{e}"));
    println!("warm {:?} memory {}", t.elapsed(), realm.memory_bytes());
    realm.begin([1; 32], Box::new(Quiet));
    let t = std::time::Instant::now();
    realm.call(Call {
        code: Some("return 1"),
        args_json: "{}",
        max_result_bytes: 10_000,
    });
    println!("first call {:?}", t.elapsed());
    let code = std::fs::read_to_string(std::env::var("PROBE").unwrap_or("/tmp/probe.js".into()))
        .unwrap_or_else(|e| panic!("{e}"));
    for code in code.split("\n---\n") {
        let t = std::time::Instant::now();
        println!(
            "{:?} {:?}",
            realm.call(Call {
                code: Some(code),
                args_json: "{}",
                max_result_bytes: 10_000
            }),
            t.elapsed()
        );
    }
}
