//! Who gives way to whom.

use std::time::Duration;

use dynamic_mcp_executor::engine::Engine as _;
use dynamic_mcp_shared::job::{Isolation, Job, Placement};
use dynamic_mcp_shared::outcome::Outcome;
use tokio::time::sleep;

use crate::processes::{isolates, nice};
use crate::rig::{Rig, eventually, job, run, run_with};

const SHORT: i32 = 5;
const LONG: i32 = 19;

fn nices() -> Vec<i32> {
    let mut nices: Vec<i32> = isolates().into_iter().filter_map(nice).collect();
    nices.sort_unstable();
    nices
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_works_for_long_gives_way_and_one_that_waits_does_not() {
    let rig = Rig::start().await;
    let waits = rig
        .prepare("await new Promise((r) => setTimeout(r, 1_500)); return 1", 5_000)
        .await;
    let works = rig.prepare("for (;;) {}", 1_500).await;
    let seen = async {
        eventually("one that gives way", async || nices().contains(&LONG)).await;
        sleep(Duration::from_millis(500)).await;
        nices()
    };
    let (waited, worked, seen) = tokio::join!(run(waits), run(works), seen);
    assert_eq!((waited.outcome, worked.outcome), (Outcome::Ok, Outcome::TimedOut));
    assert_eq!(seen.iter().filter(|nice| **nice == LONG).count(), 1, "{seen:?}");
    assert!(seen.iter().all(|nice| [SHORT, LONG].contains(nice)), "{seen:?}");
    rig.finish().await;
}

/// Works and waits for as long as its arguments say.
const BOTH: &str = "
    const end = Date.now() + (args.work ?? 0);
    while (Date.now() < end);
    await new Promise((r) => setTimeout(r, args.wait ?? 0));
    return 1;
";

fn kept() -> Job {
    Job {
        tool: Some("kept".to_owned()),
        isolation: Isolation::Tool,
        content_hash: Some("0".repeat(64).try_into().unwrap()),
        ..job(BOTH, 10_000)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_child_stays_with_its_tool_unless_it_gave_way() {
    const SHORT_WORK: &str = r#"{"work": 3}"#;
    const LONG_WORK: &str = r#"{"work": 600}"#;
    const LONG_WAIT: &str = r#"{"wait": 200}"#;
    let rig = Rig::start().await;
    let call = async |args: &'static str| {
        let prepared = rig.engine.prepare(kept()).await.unwrap();
        let placement = prepared.placement();
        let finished = run_with(prepared, args).await;
        assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
        placement
    };
    assert_ne!(call(LONG_WAIT).await, Placement::Kept);
    // Many short ones are not one long one.
    for _ in 0..40 {
        assert_eq!(call(SHORT_WORK).await, Placement::Kept);
    }
    assert_eq!(call(LONG_WAIT).await, Placement::Kept);
    assert_eq!(call(LONG_WORK).await, Placement::Kept);
    assert_ne!(call(LONG_WAIT).await, Placement::Kept);
    rig.finish().await;
}
