//! Bugs that are put in: a simulation that does not find them would find nothing.

use crate::plan::{Plan, Planted};
use crate::runs::on_virtual_time;
use crate::sessions::{self, Deployment};
use crate::truth::Violation;
use crate::world::World;

/// In which of the first seeds it is found.
const WITHIN: u64 = 40;

fn is_found(expected: &[&str], run: impl Fn(u64) -> Result<(), Violation>) {
    for seed in 0..WITHIN {
        if let Err(Violation(what)) = run(seed) {
            let is_it = expected.iter().any(|part| what.contains(part));
            assert!(is_it, "seed {seed} found something else: {what}");
            println!("seed {seed}: {what}");
            return;
        }
    }
    panic!("not found in {WITHIN} seeds");
}

fn among_calls(planted: Planted, expected: &[&str]) {
    is_found(expected, |seed| {
        on_virtual_time(World::run(Plan::small(seed).with(planted))).map(drop)
    });
}

fn among_sessions(planted: sessions::Planted, expected: &[&str]) {
    is_found(expected, |seed| {
        let plan = sessions::Plan::small(seed).with(planted);
        on_virtual_time(Deployment::run(plan)).map(drop)
    });
}

#[test]
fn a_retry_of_what_may_have_run_is_found() {
    among_calls(
        Planted::RetryAfterStart,
        &["and ran on", "its client was told NeverStarted"],
    );
}

#[test]
fn leases_that_never_expire_are_found() {
    among_calls(Planted::NoExpiry, &["leases"]);
}

#[test]
fn a_slot_that_is_not_handed_over_is_found() {
    among_calls(Planted::NoHandOver, &["waits, and has"]);
}

#[test]
fn a_slot_given_back_while_the_code_may_still_run_is_found() {
    among_calls(Planted::GivesBackAtOnce, &["jobs run, and", "run, and 8 may"]);
}

#[test]
fn a_replica_that_goes_on_without_its_leases_is_found() {
    among_calls(Planted::NoRevocation, &["jobs run, and", "run, and 8 may"]);
}

#[test]
fn a_session_opened_elsewhere_under_the_same_name_is_found() {
    among_sessions(
        sessions::Planted::SameNameElsewhere,
        &["has two homes", "after its client was told"],
    );
}

#[test]
fn sessions_that_are_not_counted_are_found() {
    among_sessions(sessions::Planted::NoCount, &["may be"]);
}

#[test]
fn a_session_that_nobody_has_and_nobody_stops_is_found() {
    among_sessions(sessions::Planted::NothingIsUnwanted, &["nobody has it"]);
}
