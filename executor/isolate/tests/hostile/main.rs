//! A child that broke out of its rules, and the real broker: the executor's own engine, whose zygote is this program and
//! runs native code in the place of a child's body. Whatever such a child says or does, its call ends as it should, the
//! broker stays small, and the next call works.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod breach;
mod child;
mod counted;
mod frames;
mod rig;

use std::process::ExitCode;

use dynamic_mcp_isolate::{Walls, ZYGOTE_ARGUMENT, enter_with};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == ZYGOTE_ARGUMENT)
    {
        enter_with(&Walls::all(), &mut child::Hostile);
    }
    counted::begin();
    let mut arguments = Arguments::from_args();
    // They look at what the whole process has: its metrics and its memory.
    arguments.test_threads = Some(1);
    let trials: Vec<Trial> = breach::trials().chain(frames::trials()).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
