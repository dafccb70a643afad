//! What a well-behaved tool can rely on.

use std::time::Duration;

use dynamic_mcp_quickjs::{Call, Ending, Host, Realm, Settings, Stream};

struct Quiet;

impl Host for Quiet {
    fn print(&mut self, _: Stream, _: &[u8]) {}
    fn progress(&mut self, _: &str) {}
    fn interrupted(&mut self) -> bool {
        false
    }
    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

#[test]
fn a_call_gets_its_arguments_and_gives_its_result() {
    let mut realm = Realm::warm(&Settings {
        memory_bytes: 64 << 20,
        stack_bytes: 1 << 20,
    })
    .unwrap();
    realm.begin([1; 32], Box::new(Quiet));
    let ending = realm.call(Call {
        code: Some("console.log('x'); return { sum: args.a + args.b, text: 'ü' }"),
        args_json: r#"{"a":1,"b":2}"#,
        max_result_bytes: 1_000,
    });
    assert_eq!(ending, Ending::Result(r#"{"sum":3,"text":"ü"}"#.to_owned()));
    let ending = realm.call(Call {
        code: Some("const x = 1;\n throw new TypeError('no')"),
        args_json: "{}",
        max_result_bytes: 1_000,
    });
    println!("{ending:?}");
    let ending = realm.call(Call {
        code: Some("throw new TypeError('no')"),
        args_json: "{}",
        max_result_bytes: 1_000,
    });
    println!("{ending:?}");
    for code in [
        "const a = 1;\nlet b = ;\nreturn a",
        "const ctx = 5; return ctx",
        "return (",
        "let ctx = 1; let x = 2; let x = 3",
    ] {
        let ending = realm.call(Call {
            code: Some(code),
            args_json: "{}",
            max_result_bytes: 1_000,
        });
        println!("{ending:?}");
    }
}
