//! The simulations, for several seeds each.

use std::future::Future;

use dynamic_mcp_control_plane::guard::{Lease, SILENCE_ENDS_CODE};
use dynamic_mcp_executor::node::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

use crate::plan::Plan;
use crate::sessions::{self, Deployment};
use crate::truth::Violation;
use crate::world::World;

/// Takes one seed, to see its story again.
const SEED: &str = "DYNAMIC_MCP_SIMULATION_SEED";
/// How many seeds to go through, for a long run.
const SEEDS: &str = "DYNAMIC_MCP_SIMULATION_SEEDS";

/// On a clock that only the simulation moves.
pub fn on_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
    )
}

fn each_seed(by_default: u64, run: impl Fn(u64, bool) -> Result<String, Violation>) {
    let (one, many) = (number(SEED), number(SEEDS));
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..many.unwrap_or(by_default),
    };
    for seed in seeds {
        match run(seed, one.is_some()) {
            Ok(summary) => println!("seed {seed}: {summary}"),
            Err(Violation(what)) => panic!("seed {seed}: {what}\n{SEED}={seed} tells the story"),
        }
    }
}

fn calls(plan: Plan) -> Result<String, Violation> {
    let world = on_virtual_time(World::run(plan))?;
    let (outcomes, most, scripts) = (world.truth.outcomes(), world.truth.most_running, world.store.runs);
    Ok(format!("{outcomes:?}, at most {most} at once, {scripts} scripts"))
}

#[test]
fn no_job_runs_twice_and_no_permit_is_lost_whatever_goes_wrong() {
    each_seed(8, |seed, tells_story| {
        calls(Plan {
            tells_story,
            ..Plan::small(seed)
        })
    });
}

#[test]
fn that_holds_for_thousands_of_executors_and_tens_of_thousands_of_calls() {
    each_seed(1, |seed, tells_story| {
        calls(Plan {
            tells_story,
            ..Plan::large(seed)
        })
    });
}

#[test]
fn no_session_has_two_homes_and_none_is_forgotten_whatever_goes_wrong() {
    each_seed(8, |seed, tells_story| {
        let plan = sessions::Plan {
            tells_story,
            ..sessions::Plan::small(seed)
        };
        on_virtual_time(Deployment::run(plan)).map(|done| done.summary())
    });
}

#[test]
fn that_holds_for_hundreds_of_executors_with_sessions() {
    each_seed(1, |seed, tells_story| {
        let plan = sessions::Plan {
            tells_story,
            ..sessions::Plan::large(seed)
        };
        on_virtual_time(Deployment::run(plan)).map(|done| done.summary())
    });
}

#[test]
fn a_seed_has_one_story() {
    let twice = [0, 1].map(|_| calls(Plan::small(1)));
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn an_executor_that_hears_nothing_ends_code_within_the_time_on_which_the_guard_counts() {
    let ended_within = KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT;
    assert!(ended_within < SILENCE_ENDS_CODE);
    assert!(SILENCE_ENDS_CODE < Lease::default().margin);
}
