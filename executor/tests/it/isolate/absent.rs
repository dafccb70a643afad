//! What an isolate doesn't have, in words that help: they name what is missing, and the runtime that has it.

use dynamic_mcp_executor::engine::{Engine as _, ResolveError};
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Dependency, Job, RejectReason};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use serde_json::json;

use super::rig::IsolateRig;
use crate::rig::{Rig, failure, job, result};

async fn assert_names(rig: &Rig, code: &str, missing: &str) {
    let message = failure(&rig.call(code).await, Outcome::Threw);
    assert!(message.contains(missing), "{code}: {message}");
    assert!(message.contains("\"node\""), "{code}: {message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_of_nodejs_is_named_with_the_runtime_that_has_it() {
    let rig = IsolateRig::start().await;
    for module in [
        "fs",
        "fs/promises",
        "child_process",
        "net",
        "dgram",
        "dns",
        "http",
        "os",
        "vm",
        "worker_threads",
        "module",
    ] {
        assert_names(&rig, &format!("await import('{module}')"), module).await;
        assert_names(&rig, &format!("await import('node:{module}')"), module).await;
    }
    assert_names(&rig, "await import('is-odd')", "is-odd").await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_of_nodejs_is_named_with_the_runtime_that_has_it() {
    let rig = IsolateRig::start().await;
    for (code, missing) in [
        ("process.exit(3)", "process"),
        ("return process.env", "process"),
        ("require('node:fs')", "require"),
        ("return await fetch('http://127.0.0.1')", "fetch"),
        ("return new Intl.NumberFormat('de').format(1)", "Intl"),
        ("return new WebAssembly.Module(new Uint8Array())", "WebAssembly"),
    ] {
        assert_names(&rig, code, missing).await;
    }
    rig.finish().await;
}

/// Code that asks first finds out, and code with a variable of such a name isn't misled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_global_can_be_asked_for_and_its_name_can_be_used() {
    let rig = IsolateRig::start().await;
    let asked = "return [typeof process, typeof require, typeof fetch, typeof Intl, globalThis.process === undefined]";
    let nothing = "undefined";
    assert_eq!(
        result(&rig.call(asked).await),
        json!([nothing, nothing, nothing, nothing, true])
    );
    let named =
        "const process = { env: 1 }; globalThis.fetch = () => 'own'; return [process.env, await fetch()]";
    assert_eq!(result(&rig.call(named).await), json!([1, "own"]));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_are_refused_and_an_image_does_not_matter() {
    let rig = IsolateRig::start().await;
    let locked = Job {
        dependency_lock: Some("{}".into()),
        ..job("return 1")
    };
    let refused = rig.refusal(locked).await;
    assert_eq!(refused.reason, RejectReason::Unsupported);
    assert!(refused.message.contains("\"node\""), "{}", refused.message);
    let dependencies = [Dependency {
        name: "is-odd".to_owned(),
        version: "1".to_owned(),
    }];
    let resolved = rig
        .engine
        .resolve_dependencies(&TenantId::default(), DEFAULT_IMAGE, &dependencies)
        .await;
    assert!(
        matches!(&resolved, Err(ResolveError::Refused(why)) if why.contains("\"node\"")),
        "{resolved:?}"
    );
    let elsewhere = Job {
        image: "nobody/has:this".to_owned(),
        ..job("return 1")
    };
    assert_eq!(result(&rig.run(elsewhere, json!({})).await), 1);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_host_is_in_reach_from_the_globals() {
    let rig = IsolateRig::start().await;
    let code = "const seen = new Set(); const found = [];
        const words = /^(open|exec|fork|kill|spawn|socket|connect|listen|readFile|writeFile|loadFile|loadScript|evalScript|popen|getenv|environ|ptrace|dlopen|std|os|bjson|Worker|scriptArgs)$/;
        const walk = (value, path, depth) => {
            if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return;
            if (seen.has(value) || depth > 4) return;
            seen.add(value);
            for (const name of Reflect.ownKeys(value)) {
                const here = path + '.' + String(name);
                if (words.test(String(name))) found.push(here);
                let next; try { next = value[name] } catch { continue }
                walk(next, here, depth + 1);
            }
            walk(Reflect.getPrototypeOf(value), path + '.__proto__', depth + 1);
        };
        walk(globalThis, 'globalThis', 0); return [found, seen.size > 500]";
    assert_eq!(
        result(&rig.call(code).await),
        json!([["globalThis.RegExp.prototype.exec"], true])
    );
    rig.finish().await;
}
