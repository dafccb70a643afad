//! What exists here is what `surface` says, and what `SURFACE.md` shows to people.

use std::collections::BTreeSet;
use std::path::Path;

use dynamic_mcp_quickjs::surface::{GLOBALS, MODULES};

use crate::node::ask_node;
use crate::rig::result;

/// What only some of Node.js 20 to 24 have: shown, but not looked for in the Node.js that runs this test.
const NEWER_GLOBALS: &[&str] = &[
    "AsyncDisposableStack",
    "CloseEvent",
    "CryptoKey",
    "DisposableStack",
    "ErrorEvent",
    "EventSource",
    "Float16Array",
    "Iterator",
    "Navigator",
    "Storage",
    "SuppressedError",
    "URLPattern",
    "WebSocket",
    "localStorage",
    "navigator",
    "sessionStorage",
];
const NEWER_MODULES: &[&str] = &["inspector/promises", "sea", "sqlite", "test", "test/reporters"];

fn names(json: serde_json::Value) -> BTreeSet<String> {
    serde_json::from_value(json).unwrap()
}

fn node_has(title: &str, script: &str, newer: &[&str]) -> BTreeSet<String> {
    let told = ask_node(
        title,
        &format!("process.stdout.write(JSON.stringify({script}))"),
        "",
    );
    let all = names(serde_json::from_str(&told).unwrap());
    all.into_iter()
        .filter(|name| !newer.contains(&name.as_str()))
        .collect()
}

fn table(title: &str, node: &BTreeSet<String>, newer: &[&str], isolate: &BTreeSet<String>) -> String {
    let newer: BTreeSet<String> = newer.iter().map(|name| (*name).to_owned()).collect();
    let mut rows = format!("| {title} | node | isolate |\n|---|---|---|\n");
    for name in node.iter().chain(&newer).chain(isolate).collect::<BTreeSet<_>>() {
        let in_node = if newer.contains(name) {
            "newer"
        } else if node.contains(name) {
            "yes"
        } else {
            ""
        };
        let in_isolate = if isolate.contains(name) { "yes" } else { "" };
        rows.push_str(&format!("| `{name}` | {in_node} | {in_isolate} |\n"));
    }
    rows
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_listed_globals_are_exactly_those_of_a_realm() {
    let there = names(result("return Object.getOwnPropertyNames(globalThis)"));
    assert_eq!(there, owned(GLOBALS));
}

#[test]
fn the_listed_modules_can_be_imported() {
    for name in MODULES {
        let code =
            format!("return [typeof (await import('node:{name}')).default, typeof (await import('{name}'))]");
        let types = result(&code);
        assert!(types[0] != "undefined" && types[1] == "object", "{name}: {types}");
    }
}

#[test]
fn the_table_of_the_runtimes_is_up_to_date() {
    let globals = "Object.getOwnPropertyNames(globalThis)";
    let modules = "require('node:module').builtinModules.filter((name) => !name.startsWith('_') && !name.startsWith('node:'))";
    let text = format!(
        "# What exists in which runtime\n\n\
        Made by a test (`UPDATE_SURFACE=1 cargo test -p dynamic-mcp-quickjs surface`). `node` is Node.js 20; *newer* is what only later versions have.\n\n\
        Modules can be imported with or without `node:`.\n\n{}\n{}",
        table(
            "module",
            &node_has("modules", modules, NEWER_MODULES),
            NEWER_MODULES,
            &owned(MODULES)
        ),
        table(
            "global",
            &node_has("globals", globals, NEWER_GLOBALS),
            NEWER_GLOBALS,
            &owned(GLOBALS)
        ),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SURFACE.md");
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        text,
        "run this test with UPDATE_SURFACE=1"
    );
}
