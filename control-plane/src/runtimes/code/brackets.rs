//! How deep the brackets of a code are nested, without parsing it. The parser tries some brackets in two ways and so
//! reads what is inside of them twice, once more for each level: its time is the product of depth and length.
//!
//! A `/` may divide or begin a regular expression, and in some places only a parser can tell. There both are followed, and
//! the deeper one counts; the answer is never less than what the parser will meet.

/// Ways to read the code that are followed beside each other. Wrong ones end soon: in a bracket that does not fit, or in a
/// text without an end.
const MAX_READINGS: usize = 32;
/// Words after which an expression may begin. Others are operands, and what follows them divides.
const BEFORE_OPERANDS: &[&str] = &[
    "await",
    "case",
    "default",
    "delete",
    "do",
    "else",
    "extends",
    "in",
    "instanceof",
    "new",
    "of",
    "return",
    "throw",
    "typeof",
    "void",
    "yield",
];

/// The deepest nesting of `(`, `[`, `{` and `${`, as far as `limit`; `None` when it is deeper, or can't be told.
pub(super) fn depth(code: &str, limit: usize) -> Option<usize> {
    let mut readings = vec![Reading::default()];
    let mut next = Vec::new();
    let mut deepest = 0;
    let mut chars = code.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|&(_, after)| after);
        for mut reading in readings.drain(..) {
            if reading.is_slash(c, after) {
                let (divides, begins) = match reading.last {
                    Last::Operator => (false, true),
                    Last::Operand => (true, false),
                    Last::Either => (true, true),
                    Last::Word { from, to } => (true, BEFORE_OPERANDS.contains(&&code[from..to])),
                };
                if begins {
                    next.push(Reading {
                        state: State::Regex { class: false },
                        ..reading.clone()
                    });
                }
                if !divides {
                    continue;
                }
            }
            if reading.read(at, c, after) {
                deepest = deepest.max(reading.open.len());
                next.push(reading);
            }
        }
        next.sort_unstable();
        next.dedup();
        if deepest > limit || next.len() > MAX_READINGS {
            return None;
        }
        std::mem::swap(&mut readings, &mut next);
        if readings.is_empty() {
            // No way to read it is JavaScript: the parser stops here.
            break;
        }
    }
    Some(deepest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum State {
    #[default]
    Code,
    Text(char),
    Template,
    Regex {
        class: bool,
    },
    LineComment,
    BlockComment,
}

/// What stood last, but for space and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Last {
    /// After which an operand comes.
    #[default]
    Operator,
    Operand,
    Either,
    /// From and to in the code.
    Word {
        from: usize,
        to: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Reading {
    state: State,
    last: Last,
    /// The next character belongs to the one before it.
    skip: bool,
    /// Brackets that are open; `$` is that of a template's `${`.
    open: Vec<char>,
}

impl Reading {
    /// Whether it is one that divides or begins a regular expression.
    fn is_slash(&self, c: char, after: Option<char>) -> bool {
        self.state == State::Code && !self.skip && c == '/' && !matches!(after, Some('/' | '*'))
    }

    /// Takes one character; `false` when it can't stand here.
    fn read(&mut self, at: usize, c: char, after: Option<char>) -> bool {
        if std::mem::take(&mut self.skip) {
            return true;
        }
        let is_line_end = matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
        match self.state {
            State::Code => return self.read_code(at, c, after),
            State::LineComment if is_line_end => {
                self.state = State::Code;
                self.end_line();
            }
            State::BlockComment if c == '*' && after == Some('/') => {
                self.skip = true;
                self.state = State::Code;
            }
            State::BlockComment if is_line_end => self.end_line(),
            State::LineComment | State::BlockComment => {}
            State::Text(quote) if c == quote => self.end_operand(),
            // `\` before CR LF takes both.
            State::Text(_) if c == '\\' => self.skip = after != Some('\r'),
            State::Text(_) if c == '\n' => return false,
            State::Text(_) => {}
            State::Template => match (c, after) {
                ('`', _) => self.end_operand(),
                ('\\', _) => self.skip = true,
                ('$', Some('{')) => {
                    self.skip = true;
                    self.open.push('$');
                    self.state = State::Code;
                    self.last = Last::Operator;
                }
                _ => {}
            },
            State::Regex { .. } if is_line_end => return false,
            State::Regex { class } => match c {
                '\\' => self.skip = true,
                '[' => self.state = State::Regex { class: true },
                ']' => self.state = State::Regex { class: false },
                '/' if !class => self.end_operand(),
                _ => {}
            },
        }
        true
    }

    fn end_operand(&mut self) {
        self.state = State::Code;
        self.last = Last::Operand;
    }

    /// `let a` and `break` end with their line, and the next may begin with anything.
    fn end_line(&mut self) {
        if matches!(self.last, Last::Operand | Last::Word { .. }) {
            self.last = Last::Either;
        }
    }

    fn read_code(&mut self, at: usize, c: char, after: Option<char>) -> bool {
        match c {
            '\'' | '"' => self.state = State::Text(c),
            '`' => self.state = State::Template,
            '/' if after == Some('/') => self.state = State::LineComment,
            '/' if after == Some('*') => {
                self.skip = true;
                self.state = State::BlockComment;
            }
            '(' | '[' | '{' => {
                self.open.push(c);
                self.last = Last::Operator;
            }
            // `if (a) /b/` and `(a) / b`; `{} /b/` and `({}) / b`.
            ')' => {
                self.last = Last::Either;
                return self.open.pop() == Some('(');
            }
            ']' => {
                self.last = Last::Operand;
                return self.open.pop() == Some('[');
            }
            '}' => {
                self.last = Last::Either;
                match self.open.pop() {
                    Some('$') => self.state = State::Template,
                    // What closes more than it opened closes the function around it.
                    Some('{') | None => {}
                    Some(_) => return false,
                }
            }
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => self.end_line(),
            c if c.is_whitespace() || c == '\u{feff}' => {}
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '\\' | '#') || !c.is_ascii() => {
                let to = at + c.len_utf8();
                self.last = match self.last {
                    Last::Word { from, to: end } if end == at => Last::Word { from, to },
                    _ => Last::Word { from: at, to },
                };
            }
            // `a++ / b` and `+ /b/`; `1. / 2` and `.../b/`.
            '+' | '-' | '.' | '@' => self.last = Last::Either,
            _ => self.last = Last::Operator,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_code_count_and_others_do_not() {
        for (code, expected) in [
            ("", 0),
            ("f(a[{}])", 3),
            ("'((((' + \"[[[[\" + `((((${f(1)}((((`", 2),
            ("// ((((\n/* (((( */ (1)", 1),
            (r"'\'((((' + (1)", 1),
            ("'\\\r\n((('", 0),
            (r"/[/((((]\/((((/.test(a)", 1),
            (r"if (a) /((/.test(b); return (c) / (d)", 3),
            ("return /(((/.test(a)", 3),
            ("x.return / (1 / 2)", 1),
            ("let a\n/(((/.test(b)", 3),
            ("break /*\n*/ /(((/.test(b)", 3),
            ("x = a++ / b; y = [.../((/.source]", 3),
            ("a / (b / (c / d))", 2),
            ("`${`${`${1}`}`}`", 3),
            ("} (", 1),
        ] {
            assert_eq!(depth(code, 100), Some(expected), "{code}");
        }
    }

    #[test]
    fn closers_in_texts_hide_nothing() {
        let hidden = "(a = /*)*/ ')' + `)` + ".repeat(200);
        assert_eq!(depth(&hidden, 100), None);
        let hidden = "(a = /)/ + ".repeat(200);
        assert_eq!(depth(&hidden, 100), None);
        let hidden = "(a = 1 /')/ + /'/ + ".repeat(200);
        assert_eq!(depth(&hidden, 100), None);
    }

    #[test]
    fn ordinary_slashes_are_no_reason_to_give_up() {
        let line = "const x = (a / b) * (c / 2); if (/it's [/\"`(] x/.test(s)) return s.replace(/\\//g, '/') / y[i / 2];\n";
        assert_eq!(depth(&line.repeat(500), 20), Some(2));
    }
}
