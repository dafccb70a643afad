//! What a child may send instead of what it should, and what is made of it.

use dynamic_mcp_shared::job::{Finished, Isolation, Placement};
use dynamic_mcp_shared::outcome::Outcome;
use libtest_mimic::{Failed, Trial};

use crate::rig::{DEADLINE, MAX_OUTPUT, Rig, job, on_a_runtime, peak_kib};

/// Of what the broker may grow by, whatever is sent to it.
const MOST_KIB: u64 = 24 << 10;

/// What a child does, and the outcome and a part of the message that its call is told.
const ACTS: &[(&str, Outcome, &str)] = &[
    ("end_at_once", Outcome::Interrupted, "ended without a result"),
    ("fail", Outcome::Interrupted, "exit code 70"),
    ("panic", Outcome::Interrupted, "exit code 71"),
    ("say_nothing", Outcome::TimedOut, ""),
    ("unknown_kind", Outcome::Interrupted, "broke its protocol"),
    ("ready_again", Outcome::Interrupted, "broke its protocol"),
    ("half_a_header_then_silence", Outcome::TimedOut, ""),
    (
        "half_a_header_then_the_end",
        Outcome::Interrupted,
        "ended without a result",
    ),
    ("half_a_payload_then_silence", Outcome::TimedOut, ""),
    (
        "half_a_payload_then_the_end",
        Outcome::Interrupted,
        "ended without a result",
    ),
    ("stdout_of_gigabytes", Outcome::Interrupted, "broke its protocol"),
    (
        "progress_of_gigabytes",
        Outcome::Interrupted,
        "broke its protocol",
    ),
    ("error_of_gigabytes", Outcome::Interrupted, "broke its protocol"),
    (
        "result_of_gigabytes",
        Outcome::InvalidOutput,
        "more than the 100000 bytes",
    ),
    ("progress_without_end", Outcome::TimedOut, ""),
    ("progress_that_is_none", Outcome::Ok, ""),
    ("print_without_end", Outcome::TimedOut, ""),
    ("print_nothing_without_end", Outcome::TimedOut, ""),
    ("result_that_is_not_json", Outcome::InvalidOutput, "not JSON"),
    ("result_that_is_not_text", Outcome::InvalidOutput, "not JSON"),
    ("deep_result", Outcome::InvalidOutput, "nested 10000 levels"),
    ("error_that_is_none", Outcome::Threw, ""),
    ("two_results", Outcome::Ok, ""),
];

pub fn trials() -> impl Iterator<Item = Trial> {
    let acts = ACTS.iter().map(|(act, outcome, message)| {
        Trial::test(format!("frames::{act}"), move || {
            on_a_runtime(async {
                let rig = Rig::start().await;
                let finished = bounded(&rig, async || rig.call(act).await).await?;
                let told = told(&finished);
                if finished.outcome != *outcome || !told.contains(message) {
                    return Err(format!("{:?}: {told}", finished.outcome).into());
                }
                rig.finish().await;
                Ok(())
            })
        })
    });
    acts.chain([
        Trial::test("frames::arguments_that_nobody_reads", || {
            on_a_runtime(arguments_that_nobody_reads())
        }),
        Trial::test("frames::a_kept_child_that_says_too_much_is_not_kept", || {
            on_a_runtime(says_too_much());
            Ok(())
        }),
    ])
}

fn told(finished: &Finished) -> &str {
    finished.error.as_ref().map_or("", |error| &error.message)
}

/// The call, after which the broker is as small as before and serves the next one.
async fn bounded(rig: &Rig, call: impl AsyncFnOnce() -> Finished) -> Result<Finished, Failed> {
    peak_kib();
    let before = peak_kib();
    let finished = call().await;
    let grown = peak_kib().saturating_sub(before);
    if grown > MOST_KIB {
        return Err(format!("the broker grew by {grown} KiB").into());
    }
    if finished.usage.duration > DEADLINE * 2 {
        return Err(format!("it took {:?}", finished.usage.duration).into());
    }
    let kept = finished.stdout.head.len() + finished.stdout.tail.len();
    if kept as u64 > MAX_OUTPUT {
        return Err(format!("{kept} bytes of output were kept").into());
    }
    let next = rig.call("").await;
    if next.outcome != Outcome::Ok {
        return Err(format!("the next call is told {:?}: {}", next.outcome, told(&next)).into());
    }
    Ok(finished)
}

async fn arguments_that_nobody_reads() -> Result<(), Failed> {
    let rig = Rig::start().await;
    // More than a socket holds, less than the broker may grow by.
    let args = format!("\"{}\"", "x".repeat(4 << 20));
    let act = job("leave_the_arguments_unread", Isolation::Call);
    let finished = bounded(&rig, async || rig.run(act, args).await.1).await?;
    if finished.outcome != Outcome::TimedOut {
        return Err(format!("{:?}: {}", finished.outcome, told(&finished)).into());
    }
    rig.finish().await;
    Ok(())
}

async fn says_too_much() {
    let rig = Rig::start().await;
    let act = || job("two_results", Isolation::Tool);
    for _ in 0..3 {
        let (placement, finished) = rig.run(act(), "{}".to_owned()).await;
        assert_eq!(finished.result.as_deref(), Some(&b"1"[..]));
        assert_ne!(placement, Placement::Kept);
    }
    rig.finish().await;
}
