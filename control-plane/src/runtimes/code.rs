//! Whether a tool's code asks for anything that the isolate lacks. The code is parsed, never run and never searched as
//! text. It may come from anybody, so what parsing it can cost is bounded before it begins.

mod brackets;
mod findings;
mod nesting;
mod surface;

use std::fmt;

use oxc_allocator::Allocator;
use oxc_diagnostics::OxcDiagnostic;
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;
use oxc_span::SourceType;

pub(super) use self::nesting::stack_for;

/// On the code's first line, so that lines count from where its author counts them. The executors wrap it likewise.
const BEFORE: &str = "export async function run(args, ctx) { ";
/// Whatever a comment on the last line says.
const AFTER: &str = "\n}";
const MAX_SHOWN_CHARS: usize = 60;

/// Why code belongs on Node.js.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// From 1; `None` when it is about the whole code.
    line: Option<usize>,
    what: String,
}

impl Obstacle {
    fn whole(what: impl Into<String>) -> Self {
        Self {
            line: None,
            what: what.into(),
        }
    }

    pub(super) fn too_deep() -> Self {
        Self::whole("it is nested too deeply to be judged")
    }

    pub(super) fn not_looked_at() -> Self {
        Self::whole("the code could not be looked at")
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// The first thing in the code that the isolate lacks. `None`: it can run there. Needs a stack of [`stack_for`].
pub(super) fn obstacle(code: &str) -> Option<Obstacle> {
    let source = [BEFORE, code, AFTER].concat();
    let lines = Lines::of(&source);
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, &source, SourceType::mjs()).parse();
    if parsed.panicked || !parsed.errors.is_empty() {
        return Some(lines.syntax_error(&parsed.errors));
    }
    // The analysis takes the product of depth and names.
    if !nesting::is_shallow(&parsed.program) {
        return Some(Obstacle::too_deep());
    }
    let built = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .build(&parsed.program);
    if !built.errors.is_empty() {
        return Some(lines.syntax_error(&built.errors));
    }
    let first = findings::all(&built.semantic)
        .into_iter()
        .min_by_key(|finding| finding.at)?;
    Some(Obstacle {
        line: Some(lines.line(first.at)),
        what: first.what,
    })
}

/// From an offset in the wrapped code to the line that its author sees.
struct Lines(Vec<usize>);

impl Lines {
    fn of(source: &str) -> Self {
        // As JavaScript counts them: also LS and PS end a line. A lone CR does too, and is not worth the trouble.
        let ends = source
            .char_indices()
            .filter(|(_, c)| matches!(c, '\n' | '\u{2028}' | '\u{2029}'));
        Self(ends.map(|(at, _)| at).collect())
    }

    fn line(&self, at: u32) -> usize {
        let line = 1 + self.0.partition_point(|&end| end < at as usize);
        // What `AFTER` adds is no line of the author's.
        line.min(self.0.len())
    }

    fn syntax_error(&self, errors: &[OxcDiagnostic]) -> Obstacle {
        let Some(error) = errors.first() else {
            return Obstacle::whole("it does not parse");
        };
        // Where two places contradict each other, the later one is wrong.
        let at = error.labels.iter().flatten().map(|label| label.offset()).max();
        Obstacle {
            line: at.map(|at| self.line(u32::try_from(at).unwrap_or(u32::MAX))),
            what: format!("does not parse: {}", shown(&error.message)),
        }
    }
}

/// A piece of somebody's code in a sentence.
fn shown(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
