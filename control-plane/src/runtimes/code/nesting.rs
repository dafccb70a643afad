//! How deep code may be nested. The parser goes down one call for each level and knows no limit, so its stack is made
//! large enough for the deepest code that so many tokens could be.

use oxc_ast::AstKind;
use oxc_ast::ast::Program;
use oxc_ast_visit::Visit;

use super::brackets;

/// Of brackets. Code that people write has less than 20, bundled and minified code less than 40.
const MAX_BRACKETS: usize = 64;
/// Of the syntax tree. Code that people write has less than 100.
const MAX_DEPTH: u32 = 1_000;

const LEAST_STACK: usize = 16 << 20;
/// Measured with oxc 0.110 on 200,000 characters of each kind of nesting, unoptimized: at most 2.6 KiB for a level that a
/// bracket opens, which [`LEAST_STACK`] has room for, and 0.7 KiB for any other token. Only what is used is ever touched.
const BYTES_PER_TOKEN: usize = 1 << 10;

/// The stack on which the code can be parsed; `None` when parsing it could take too long.
pub(in crate::runtimes) fn stack_for(code: &str) -> Option<usize> {
    brackets::depth(code, MAX_BRACKETS)?;
    Some(LEAST_STACK + tokens(code) * BYTES_PER_TOKEN)
}

/// At least as many as there are.
fn tokens(code: &str) -> usize {
    let mut tokens = 0;
    let mut in_word = false;
    for byte in code.bytes() {
        let is_word = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii();
        let continues = is_word && in_word;
        if !continues && !byte.is_ascii_whitespace() {
            tokens += 1;
        }
        in_word = is_word;
    }
    tokens
}

pub(super) fn is_shallow(program: &Program<'_>) -> bool {
    let mut depth = Depth::default();
    depth.visit_program(program);
    depth.deepest <= MAX_DEPTH
}

#[derive(Default)]
struct Depth {
    now: u32,
    deepest: u32,
}

impl<'a> Visit<'a> for Depth {
    fn enter_node(&mut self, _: AstKind<'a>) {
        self.now += 1;
        self.deepest = self.deepest.max(self.now);
    }

    fn leave_node(&mut self, _: AstKind<'a>) {
        self.now -= 1;
    }
}
