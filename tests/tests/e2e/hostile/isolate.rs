//! Code that looks in an isolate for what isn't there: processes, files, sockets, other globals.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::processes::descendants_of;

use super::{LONG, SHORT, Ward, assert_ended, told};

/// Modules by which code in a container gets at processes, files, sockets and other threads.
const MODULES: [&str; 14] = [
    "fs",
    "fs/promises",
    "child_process",
    "net",
    "dgram",
    "dns",
    "http",
    "https",
    "os",
    "vm",
    "worker_threads",
    "cluster",
    "module",
    "process",
];

#[tokio::test]
async fn a_module_of_nodejs_is_refused_with_the_runtime_that_has_it() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    for module in MODULES {
        for name in [module.to_owned(), format!("node:{module}")] {
            let ended = ward
                .run(&format!("await import('{name}'); return 1;"), LONG)
                .await?;
            assert_ended(&ended, "threw", module);
            assert_ended(&ended, "threw", "\"node\"");
        }
    }
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_package_and_a_file_are_no_modules() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    for name in [
        "is-odd",
        "/etc/passwd",
        "file:///etc/passwd",
        "./tool.mjs",
        "../../proc/self/environ",
        "https://example.com/x.mjs",
        "data:text/javascript,export default 1",
        "",
    ] {
        let ended = ward
            .run(&format!("await import('{name}'); return 1;"), LONG)
            .await?;
        measured(format!("{name:?}: {:?}", told(&ended)));
        assert_ended(&ended, "threw", name);
    }
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_global_of_nodejs_is_missing_in_the_words_of_the_runtime_that_has_it() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    for (code, global) in [
        ("process.exit(3);", "process"),
        ("return process.env;", "process"),
        ("require('node:fs');", "require"),
        ("return await fetch('http://127.0.0.1');", "fetch"),
        ("return new Intl.NumberFormat('de').format(1);", "Intl"),
        ("return new WebAssembly.Module(new Uint8Array());", "WebAssembly"),
        ("return new Worker('x');", "Worker"),
        ("return new WebSocket('ws://127.0.0.1');", "WebSocket"),
    ] {
        let ended = ward.run(code, LONG).await?;
        assert_ended(&ended, "threw", global);
    }
    ward.stop().await;
    Ok(())
}

/// Everything that can be reached by name from the global object, three steps deep.
#[tokio::test]
async fn nothing_in_reach_is_the_hosts() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    let code = "const seen = new Set(); const found = []; \
        const words = /^(open|exec|fork|kill|spawn|socket|connect|listen|readFile|writeFile|loadFile|loadScript|evalScript|popen|getenv|environ|ptrace|ffi|dlopen|os|std|bjson|Worker|gc|print|scriptArgs)$/; \
        const walk = (value, path, depth) => { \
          if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value) || depth > 3) return; \
          seen.add(value); \
          for (const name of Reflect.ownKeys(value)) { \
            const here = `${path}.${String(name)}`; \
            if (words.test(String(name)) && !/^globalThis\\.(RegExp\\.prototype|.*indexedDB)/.test(here)) found.push(here); \
            let next; try { next = value[name]; } catch { continue; } \
            walk(next, here, depth + 1); \
          } \
          walk(Reflect.getPrototypeOf(value), `${path}.__proto__`, depth + 1); \
        }; \
        walk(globalThis, 'globalThis', 0); return found;";
    let ended = ward.run(code, LONG).await?;
    measured(format!("{}", ended["result"]));
    assert_eq!(ended["outcome"], "ok", "{ended}");
    let expected = ["globalThis.RegExp.prototype.exec"];
    let found = ended["result"].as_array().cloned().unwrap_or_default();
    let unexpected: Vec<_> = found
        .iter()
        .filter_map(|path| path.as_str())
        .filter(|path| !expected.contains(path))
        .collect();
    assert_eq!(unexpected, Vec::<&str>::new());
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn waiting_without_end_for_memory_that_nobody_shares_is_refused_or_timed_out() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    let wait = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); return 1;";
    let ended = ward.run(wait, SHORT).await?;
    measured(format!("{:?}", told(&ended)));
    assert!(["threw", "timed_out"].contains(&told(&ended).0), "{ended}");
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn when_all_is_over_only_what_waits_is_there_as_before() -> Result<()> {
    let ward = Ward::start(On::Isolate).await?;
    let server = ward.server.process.pid();
    let before = descendants_of(server).len();
    for code in [
        "for (;;);",
        "const all = []; for (;;) all.push(new Array(100_000).fill(1.5));",
        "const again = () => again() + 1; return again();",
        "return 1;",
    ] {
        ward.run(code, SHORT).await?;
    }
    dynamic_mcp_tests::eventually::eventually(LONG, async || {
        let left = descendants_of(server);
        anyhow::ensure!(left.len() <= before, "{before} became {left:?}");
        Ok(())
    })
    .await;
    ward.stop().await;
    Ok(())
}
