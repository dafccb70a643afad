//! The same snippets here and in a real Node.js give the same JSON. What is known to differ is listed with a reason.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use dynamic_mcp_quickjs::Ending;
use serde_json::Value;

use crate::rig::Rig;

/// One snippet a line; a body of `run`. `console` output is part of what is compared.
const SNIPPETS: &str = include_str!("node/snippets.txt");

/// Snippets that begin with the text, and why their answers differ from any Node.js's.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "console.log(new Proxy(",
        "`inspect` is that of a newer Node.js: a proxy is shown as one",
    ),
    (
        "try { Buffer.alloc(2).readUInt32LE(0) }",
        "the `buffer` package's range errors have no code",
    ),
    (
        "console.log(new Map([['k', 1]]).entries()",
        "the engine can't look into an iterator without moving it",
    ),
    (
        "try { await Promise.any([]) }",
        "the engine's own error has no message",
    ),
    (
        "return typeof new WeakRef(",
        "the engine frees what only a weak reference holds at once, not after the job",
    ),
];

/// Snippets that begin with the text are answered as by Node.js 24, and otherwise by Node.js 20.
const NEWER: &[(&str, &str)] = &[
    (
        "console.log(new Uint8Array([1, 2]), new ArrayBuffer(4)",
        "`inspect` shows `[byteLength]`",
    ),
    (
        "console.log({ get a() { return 1 }",
        "`inspect` shows symbols as keys without brackets",
    ),
    (
        "return String(Symbol.dispose)",
        "Node.js 20 has a symbol of its own",
    ),
];

/// Runs each snippet as the runner does, with a console that remembers.
const HARNESS: &str = r"
const { Console } = require('node:console');
const { Writable } = require('node:stream');
let text = '';
require('node:fs').readFileSync(0, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#')).reduce((before, code) => before.then(async () => {
  text = '';
  const sink = new Writable({ write(chunk, _, done) { text += chunk; done(); } });
  globalThis.console = new Console({ stdout: sink, stderr: sink });
  let answer;
  try {
    const run = new (async () => {}).constructor('args', `'use strict';${code}`);
    answer = { value: (await run({})) ?? null };
  } catch (error) {
    answer = { threw: `${error?.name}: ${error?.message}` };
  }
  process.stdout.write(JSON.stringify({ ...answer, text }) + '\n');
}), Promise.resolve());
";

fn node() -> String {
    std::env::var("TEST_NODE").unwrap_or_else(|_| "node".to_owned())
}

/// Runs a script file: what is given with `-e` finds Node.js's modules among its globals.
pub fn ask_node(name: &str, script: &str, input: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.cjs"));
    std::fs::write(&file, script).unwrap();
    let mut child = Command::new(node())
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs Node.js, as `node` or named by TEST_NODE: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn here(code: &str) -> Value {
    let mut rig = Rig::new();
    let code = format!(
        "try {{ return {{ value: (await (async () => {{{code}\n}})()) ?? null }} }} catch (error) {{ return {{ threw: `${{error?.name}}: ${{error?.message}}` }} }}"
    );
    let mut answer = match rig.call(&code) {
        Ending::Result(json) => serde_json::from_str::<Value>(&json).unwrap(),
        other => serde_json::json!({ "ended": format!("{other:?}") }),
    };
    let heard = rig.heard.borrow();
    answer["text"] = Value::String(format!("{}{}", heard.stdout, heard.stderr));
    answer
}

#[test]
fn snippets_answer_as_in_node() {
    let snippets: Vec<&str> = SNIPPETS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let answers = ask_node("snippets", HARNESS, SNIPPETS);
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), snippets.len());
    let mut wrong = Vec::new();
    for (code, theirs) in snippets.iter().zip(&answers) {
        let ours = here(code);
        let listed = |list: &[(&str, &str)]| list.iter().any(|(begin, _)| code.starts_with(begin));
        let known = listed(DIFFERENT);
        if (ours == *theirs) == known && !listed(NEWER) {
            wrong.push(format!(
                "{code}\n  node {theirs}\n  here {ours}{}",
                if known { "\n  (said to differ)" } else { "" }
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        snippets.len(),
        wrong.join("\n")
    );
}
