//! What a test measured beside what it asserts, for whoever reads its output.

use std::fmt::Display;

#[expect(clippy::print_stdout, reason = "the test runner shows it on request")]
pub fn measured(what: impl Display) {
    println!("measured: {what}");
}
