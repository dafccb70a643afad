//! Many calls, and calls beside hostile ones.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::processes::{descendants, descriptors, me, resident_kib, zygotes};
use crate::rig::{Rig, eventually, job, run};
use dynamic_mcp_executor::engine::Engine as _;

/// In a debug build these take a few seconds; `ISOLATE_TEST_CALLS=100000` is the full measure.
const CALLS: usize = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_leave_no_process_no_descriptor_and_no_memory() {
    let calls = std::env::var("ISOLATE_TEST_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let rig = Rig::start().await;
    let some = async |calls: usize| {
        let mut running = JoinSet::new();
        for n in 0..calls {
            while running.len() >= 8 {
                running.join_next().await.unwrap().unwrap();
            }
            let engine = std::sync::Arc::clone(&rig.engine);
            running.spawn(async move {
                let (code, outcome) = match n % 4 {
                    0 => ("throw new Error('x')", Outcome::Threw),
                    _ => ("console.log('x'); return { n: 1 }", Outcome::Ok),
                };
                let prepared = engine.prepare(job(code, 30_000)).await.unwrap();
                let finished = run(prepared).await;
                assert_eq!(finished.outcome, outcome, "{:?}", finished.error);
            });
        }
        running.join_all().await;
    };
    some(300).await;
    let quiet = async || eventually("only what waits is left", async || descendants(me()).len() <= 4).await;
    quiet().await;
    let (files, ours) = (descriptors(), resident_kib(me()));
    let zygote: u64 = zygotes().into_iter().map(resident_kib).sum();
    some(calls).await;
    quiet().await;
    let now: u64 = zygotes().into_iter().map(resident_kib).sum();
    println!(
        "{calls} calls: descriptors {files} then {}, broker {ours} then {} KiB, zygote {zygote} then {now} KiB",
        descriptors(),
        resident_kib(me())
    );
    assert!(descriptors() <= files + 2, "{files} then {}", descriptors());
    assert!(now <= zygote + 2_048, "{zygote} then {now} KiB");
    assert!(
        resident_kib(me()) <= ours + 16_384,
        "{ours} then {} KiB",
        resident_kib(me())
    );
    rig.finish().await;
}

/// Other work on the machine can spoil a round, but not each of them.
const ROUNDS: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loop_bombs_do_not_raise_a_neighbours_p99_above_twice_its_quiet_value() {
    let rig = Rig::start().await;
    latencies(&rig).await;
    for round in 1..=ROUNDS {
        let quiet = latencies(&rig).await;
        let mut bombs = JoinSet::new();
        for _ in 0..2 {
            let prepared = rig.prepare("for (;;) {}", 4_000).await;
            bombs.spawn(run(prepared));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let beside = latencies(&rig).await;
        for bomb in bombs.join_all().await {
            assert_eq!(bomb.outcome, Outcome::TimedOut);
        }
        println!("p50 and p99: quiet {quiet:?}, beside two loop bombs {beside:?}");
        if beside.1 <= 2 * quiet.1 {
            return rig.finish().await;
        }
        assert!(round < ROUNDS, "a neighbour waits for loop bombs");
    }
}

async fn latencies(rig: &Rig) -> (Duration, Duration) {
    let mut took = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let call = Instant::now();
        rig.assert_works().await;
        took.push(call.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
