//! Code, and what it belongs on.

use oxc_ast::AstKind;
use oxc_ast_visit::Visit;
use oxc_span::GetSpan as _;
use proptest::prelude::*;

use super::*;

/// What keeps the code from the isolate, in words.
fn why(code: &str) -> Option<String> {
    obstacle(code).map(|obstacle| obstacle.to_string())
}

#[track_caller]
fn runs_on_isolate(codes: &[&str]) {
    for code in codes {
        assert_eq!(why(code), None, "{code}");
    }
}

#[track_caller]
fn needs_node(cases: &[(&str, &str)]) {
    for (code, expected) in cases {
        assert_eq!(why(code).as_deref(), Some(*expected), "{code}");
    }
}

#[test]
fn plain_code_runs_on_the_isolate() {
    runs_on_isolate(&[
        "return 1",
        "",
        "// nothing but a comment",
        "return args.text.toUpperCase();",
        "'use strict'; return [...new Set(args.list)].sort((a, b) => a - b);",
        "await ctx.progress(1, 2, 'half'); return null",
        "return arguments.length",
        "function f() { return new.target } return f()",
        "return new URL(args.url).searchParams.get('q')",
        "return Buffer.from(args.text).toString('base64')",
        "return crypto.randomUUID()",
        "return await crypto.subtle.digest('SHA-256', new TextEncoder().encode(args.text))",
        "const { createHash } = await import('node:crypto'); return createHash('sha256').update('a').digest('hex')",
        "const crypto = await import('crypto'); return crypto.createHmac('sha256', 'k').update('a').digest('hex')",
        "return (await import(`node:path`)).posix.join('a', 'b')",
        "const { default: EventEmitter } = await import('node:events'); new EventEmitter()",
        "return 'a'.toLocaleUpperCase()",
        "return x instanceof Function; var x",
        "return Function.prototype",
        "return globalThis.crypto.randomUUID()",
        "return globalThis['JSON'].stringify(1)",
        "globalThis.count = (globalThis.count ?? 0) + 1; return globalThis.count",
        "return typeof whatever === 'undefined'",
        "using file = { [Symbol.dispose]() {} }; return 1",
        "return undefined ?? NaN ?? Infinity",
    ]);
}

#[test]
fn a_global_that_the_isolate_lacks_is_named_with_its_line() {
    needs_node(&[
        (
            "return process.env",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "const a = 1;\n\nreturn new Intl.NumberFormat('en').format(a)",
            "line 3: uses Intl, which the isolate lacks",
        ),
        (
            "const fs = require('fs')",
            "line 1: uses require, which the isolate lacks",
        ),
        (
            "await fetch(args.url)",
            "line 1: uses fetch, which the isolate lacks",
        ),
        (
            "WebAssembly.validate(args.bytes)",
            "line 1: uses WebAssembly, which the isolate lacks",
        ),
        (
            "return new Worker('x')",
            "line 1: uses Worker, which the isolate lacks",
        ),
        ("new Blob([])", "line 1: uses Blob, which the isolate lacks"),
        (
            "return nobodyKnowsThis",
            "line 1: uses nobodyKnowsThis, which the isolate lacks",
        ),
        (
            "return module.exports",
            "line 1: uses module, which the isolate lacks",
        ),
        (
            "return `a${process.pid}`",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "return {process}",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "class A { a = process }",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "return ((p = process) => p)()",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "{ const process = 1 }\nreturn process",
            "line 2: uses process, which the isolate lacks",
        ),
        (
            "function f(process) {}\nreturn process",
            "line 2: uses process, which the isolate lacks",
        ),
        (
            "try { } catch (process) { }\nprocess.exit()",
            "line 2: uses process, which the isolate lacks",
        ),
        (
            "return URL.createObjectURL(1)",
            "line 1: uses URL.createObjectURL, which the isolate lacks",
        ),
        (
            "return crypto.subtle.sign('a')",
            "line 1: uses crypto.subtle.sign, which the isolate lacks",
        ),
        (
            "const { subtle } = globalThis.crypto; subtle.sign()",
            "line 1: hands crypto.subtle on, of which the isolate has only digest",
        ),
    ]);
}

#[test]
fn a_name_that_the_code_binds_is_its_own() {
    runs_on_isolate(&[
        "const process = { pid: 1 }; return process.pid",
        "return ((process) => process)(1)",
        "function process() { return 1 } return process()",
        "try { throw 1 } catch (process) { return process }",
        "const { process, Intl: require } = args; return [process, require]",
        "const [fetch = 1] = []; return fetch",
        "for (const process of []) process;",
        "class process {} return new process()",
        "return function process() { return process }",
        "process: for (;;) { break process; }",
        "if (args.a) { var process = 1 } return process",
        "return process(); function process() { return 1 }",
        "var ctx = 1; return ctx",
        "const fetch = async () => 1; return await fetch()",
    ]);
}

#[test]
fn a_word_that_is_no_reference_is_nothing() {
    runs_on_isolate(&[
        "return args.process",
        "return { process: 1, require: 2, 'Intl': 3 }",
        "return 'process.exit() require(\"fs\") Intl'",
        "// process.exit()\n/* require('fs') */ return 1",
        "return `process ${1} Intl`",
        "return /process|Intl/.test('a')",
        "return args?.fetch?.process",
        "class A { process() {} static Intl = 1; #fetch = 2; get require() { return this.#fetch } } return A.Intl",
        "return String.raw`\\process`",
        "return a / process / 1; var a, process",
    ]);
}

#[test]
fn a_guard_by_typeof_is_judged_by_whether_the_answer_differs() {
    needs_node(&[
        (
            "return typeof process === 'undefined' ? 1 : 2",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "if (typeof Intl !== 'undefined') return 1",
            "line 1: uses Intl, which the isolate lacks",
        ),
    ]);
    runs_on_isolate(&[
        "return typeof window",
        "return typeof crypto",
        "return typeof Deno !== 'undefined'",
    ]);
}

#[test]
fn the_global_object_hides_nothing() {
    needs_node(&[
        (
            "return globalThis.process",
            "line 1: uses process, which the isolate lacks",
        ),
        (
            "return globalThis['Intl']",
            "line 1: uses Intl, which the isolate lacks",
        ),
        (
            "return globalThis[args.name]",
            "line 1: looks through globalThis, which can reach anything",
        ),
        (
            "const { process } = globalThis",
            "line 1: looks through globalThis, which can reach anything",
        ),
        (
            "const g = globalThis",
            "line 1: looks through globalThis, which can reach anything",
        ),
        (
            "return Object.keys(globalThis)",
            "line 1: looks through globalThis, which can reach anything",
        ),
        (
            "return global.process",
            "line 1: uses global, which the isolate lacks",
        ),
    ]);
}

#[test]
fn what_makes_code_out_of_text_can_hide_anything() {
    needs_node(&[
        ("return eval('1')", "line 1: uses eval, which can hide anything"),
        (
            "return (0, eval)('1')",
            "line 1: uses eval, which can hide anything",
        ),
        (
            "return new Function('return process')()",
            "line 1: uses Function, which can hide anything",
        ),
        (
            "return Function('return 1')()",
            "line 1: uses Function, which can hide anything",
        ),
        (
            "const F = Function",
            "line 1: uses Function, which can hide anything",
        ),
        (
            "return (() => {}).constructor('return process')()",
            "line 1: calls a constructor property, which can hide anything",
        ),
    ]);
    runs_on_isolate(&[
        "return new args.list.constructor()",
        "return args.a.constructor.name",
    ]);
}

#[test]
fn answers_that_need_locale_data_are_left_to_node() {
    needs_node(&[
        (
            "return (1234).toLocaleString()",
            "line 1: uses toLocaleString, which needs the locale data that the isolate lacks",
        ),
        (
            "return new Date().toLocaleDateString('de')",
            "line 1: uses toLocaleDateString, which needs the locale data that the isolate lacks",
        ),
        (
            "return args.list.sort((a, b) => a.localeCompare(b))",
            "line 1: uses localeCompare, which needs the locale data that the isolate lacks",
        ),
        (
            "return args.n?.['toLocaleString']()",
            "line 1: uses toLocaleString, which needs the locale data that the isolate lacks",
        ),
        (
            "return 'i'.toLocaleUpperCase('tr')",
            "line 1: uses toLocaleUpperCase, which needs the locale data that the isolate lacks",
        ),
        (
            "const { toLocaleString } = args.n",
            "line 1: uses toLocaleString, which needs the locale data that the isolate lacks",
        ),
    ]);
}

#[test]
fn imports_are_looked_up() {
    needs_node(&[
        (
            "await import('node:fs')",
            "line 1: imports node:fs, which the isolate lacks",
        ),
        (
            "await import('fs/promises')",
            "line 1: imports fs/promises, which the isolate lacks",
        ),
        (
            "await import(`lodash`)",
            "line 1: imports lodash, which the isolate lacks",
        ),
        (
            "await import(args.name)",
            "line 1: imports a module whose name is computed",
        ),
        (
            "await import('node:' + 'crypto')",
            "line 1: imports a module whose name is computed",
        ),
        (
            "await import(`node:${args.a}`)",
            "line 1: imports a module whose name is computed",
        ),
        (
            "return import.meta.url",
            "line 1: uses import.meta, which tells the runtimes apart",
        ),
        (
            "const { createCipheriv } = await import('node:crypto')",
            "line 1: uses createCipheriv of node:crypto, which the isolate lacks",
        ),
        (
            "const { default: crypto } = await import('crypto');\ncrypto.createHash('md5');\nreturn crypto.scryptSync('a', 'b', 1)",
            "line 3: uses scryptSync of node:crypto, which the isolate lacks",
        ),
        (
            "return (await import('node:util')).parseArgs()",
            "line 1: uses parseArgs of node:util, which the isolate lacks",
        ),
    ]);
}

#[test]
fn the_first_obstacle_is_told() {
    needs_node(&[(
        "const a = 1;\nIntl;\nprocess;\nrequire",
        "line 2: uses Intl, which the isolate lacks",
    )]);
}

#[test]
fn code_that_does_not_parse_stays_on_node_and_says_where() {
    for (code, line) in [
        ("return 1 +;", 1),
        ("const a = 1;\nconst a = 2;", 2),
        ("return 1;\nwith (args) { a }", 2),
        ("const ctx = 1", 1),
        ("import fs from 'fs'", 1),
        ("return `${", 2),
        ("break;", 1),
        ("return 1 }", 2),
    ] {
        let why = why(code).unwrap();
        assert!(
            why.starts_with(&format!("line {line}: does not parse: "))
                || code.ends_with('}')
                || code.ends_with('{'),
            "{code}: {why}"
        );
        assert!(why.contains("does not parse: "), "{code}: {why}");
    }
}

#[test]
fn code_that_closes_the_function_is_judged_as_a_whole() {
    needs_node(&[(
        "return 1 } process.exit(); {",
        "line 1: uses process, which the isolate lacks",
    )]);
}

#[test]
fn a_long_name_is_cut() {
    let why = why(&"x".repeat(5_000)).unwrap();
    assert!(why.chars().count() < 120, "{why}");
}

/// Counts nodes that stand in brackets.
#[derive(Default)]
struct Brackets {
    now: usize,
    deepest: usize,
}

impl Brackets {
    fn is_one(kind: AstKind<'_>) -> bool {
        match kind {
            AstKind::ParenthesizedExpression(_)
            | AstKind::ArrayExpression(_)
            | AstKind::ObjectExpression(_)
            | AstKind::BlockStatement(_)
            | AstKind::ClassBody(_) => true,
            // That of `a => b` has none: it is as long as its expression.
            AstKind::FunctionBody(body) => {
                !matches!(&body.statements[..], [only] if only.span() == body.span)
            }
            _ => false,
        }
    }
}

impl<'a> Visit<'a> for Brackets {
    fn enter_node(&mut self, kind: AstKind<'a>) {
        self.now += usize::from(Self::is_one(kind));
        self.deepest = self.deepest.max(self.now);
    }

    fn leave_node(&mut self, kind: AstKind<'a>) {
        self.now -= usize::from(Self::is_one(kind));
    }
}

/// By the parser, but for those of the function around the code.
fn brackets_met(code: &str) -> usize {
    let source = [BEFORE, code, AFTER].concat();
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, &source, SourceType::mjs()).parse();
    let mut brackets = Brackets::default();
    brackets.visit_program(&parsed.program);
    brackets.deepest.saturating_sub(1)
}

#[test]
fn the_parser_meets_the_brackets_that_are_there() {
    for (code, met) in [
        ("a=>b", 0),
        ("(a)=>[b]", 1),
        ("a=>{b}", 1),
        ("a=>({})", 2),
        ("{[(a)]}", 3),
    ] {
        assert_eq!(brackets_met(code), met, "{code}");
    }
}

fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "process",
        "import(",
        "'node:fs'",
        ")",
        "(",
        "{",
        "}",
        "[",
        "]",
        "=>",
        "async ",
        "await ",
        "`",
        "${",
        "/",
        "*",
        "\n",
        "\r",
        "\u{2028}",
        "globalThis",
        ".",
        "?.",
        "toLocaleString",
        "class ",
        "#a",
        "var ",
        "let ",
        "using ",
        "=",
        "function ",
        "return ",
        "yield ",
        "label:",
        "<!--",
        "-->",
        "\\u{61}",
        "0n",
        "1e",
        "'",
        "\"",
        "//",
        "/*",
        "*/",
        ",",
        ";",
        "...",
        "new ",
        "typeof ",
        "with(",
        "@",
        "#!",
        "import.meta",
        "new.target",
        "arguments",
        "\0",
        "é",
    ]);
    prop_oneof![3 => words.prop_map(str::to_owned), 1 => ".{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = why(&text);
    }

    #[test]
    fn no_heap_of_javascript_makes_it_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = why(&pieces.concat());
    }

    #[test]
    fn brackets_are_never_deeper_than_they_were_counted(pieces in prop::collection::vec(piece(), 0..40)) {
        let code = pieces.concat();
        let (met, counted) = (brackets_met(&code), brackets::depth(&code, 1_000));
        prop_assert!(counted.is_none_or(|counted| met <= counted), "{met} of {counted:?}");
    }

    #[test]
    fn a_line_that_is_told_is_one_of_the_authors(pieces in prop::collection::vec(piece(), 0..20)) {
        let code = pieces.concat();
        let lines = 1 + code.chars().filter(|c| matches!(c, '\n' | '\u{2028}' | '\u{2029}')).count();
        if let Some(Obstacle { line: Some(line), .. }) = obstacle(&code) {
            prop_assert!((1..=lines).contains(&line), "{line} of {lines}");
        }
    }
}
