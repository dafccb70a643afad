//! What a call costs in round trips.

use std::time::Duration;

use dynamic_mcp_control_plane::guard::{Lease, RedisGuardConfig, Refusal};

use crate::rig::{Replica, closed, config, counts, eventually, refusal, replica};
use crate::server::Server;

/// Nothing is renewed while it is counted.
const QUIET: Lease = Lease {
    length: Duration::from_secs(300),
    renew_every: Duration::from_secs(100),
    margin: Duration::from_secs(1),
    sign: Duration::from_secs(60),
};

async fn scripts_run(replica: &Replica) -> u64 {
    let info: String = replica
        .redis
        .query(redis::cmd("INFO").arg("commandstats"))
        .await
        .unwrap();
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    let calls = line.and_then(|line| line.split("calls=").nth(1));
    calls.map_or(0, |text| text.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_takes_one_round_trip_to_begin_and_one_to_end_and_a_known_refusal_none() {
    let server = Server::start().await;
    let mut limits = config(8);
    limits.limits.max_calls_per_window = 51;
    let one = replica(
        &server.url(),
        RedisGuardConfig {
            lease: QUIET,
            ..closed(limits)
        },
    )
    .await;
    drop(one.acquire("t").await.unwrap());
    eventually(async || one.members("leases").await == 0).await;

    let before = scripts_run(&one).await;
    for _ in 0..50 {
        drop(one.acquire("t").await.unwrap());
        // Two that are given back at once go together, and would cost less.
        eventually(async || one.members("leases").await == 0).await;
    }
    assert_eq!(scripts_run(&one).await - before, 100);

    for _ in 0..50 {
        let refused = refusal(one.acquire("t").await);
        assert!(matches!(refused, Refusal::Rate { limit: 51, .. }));
    }
    assert_eq!(scripts_run(&one).await - before, 101, "the first is asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_cost_nothing_are_counted_all_the_same() {
    let server = Server::start().await;
    let mut limits = config(8);
    limits.limits.max_calls_per_window = 1;
    let one = replica(&server.url(), closed(limits)).await;
    let other = replica(&server.url(), closed(limits)).await;
    one.acquire("t").await.unwrap();
    for _ in 0..20 {
        refusal(one.acquire("t").await);
    }
    eventually(async || {
        let counts = counts(&*other.guard, "t", "a").await;
        (counts.total, counts.allowed, counts.rejected_rate) == (21, 1, 20)
    })
    .await;
}
