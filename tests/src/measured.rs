//! What a test measured beside what it asserts, for whoever reads its output.

use std::fmt::Display;
use std::time::Duration;

#[expect(clippy::print_stdout, reason = "the test runner shows it on request")]
pub fn measured(what: impl Display) {
    println!("measured: {what}");
}

/// What the failure table promises counts on a machine that does nothing else.
const ROOM: u32 = 5;

/// The longest that a test waits for what the failure table promises within that time.
pub const fn with_room(bound: Duration) -> Duration {
    bound.saturating_mul(ROOM)
}

/// Says how long a row of the failure table took, in one line that can be looked for.
///
/// # Panics
/// When that is more than its bound, with room for a busy machine.
#[track_caller]
pub fn fault_row(row: &str, bound: Duration, took: Duration) {
    measured(format!("fault row | {row} | {bound:.1?} | {took:.2?}"));
    assert!(
        took <= with_room(bound),
        "{row}: {took:?} is far beyond {bound:?}"
    );
}
