//! Redis goes away, and comes back.

use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::guard::{Guard as _, GuardConfig, Refusal};

use crate::rig::{ALL, LEASE, SOON, closed, config, eventually, local, refusal, replica, scope};
use crate::server::Server;

/// Of the second that it may take, with what a busy machine adds.
const BOUND: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_calls_are_refused_soon_and_what_runs_is_ended_until_it_is_back() {
    let mut server = Server::start().await;
    let one = replica(&server.url(), closed(config(4))).await;
    let permit = one.acquire("t").await.unwrap();
    server.kill().await;
    for _ in 0..3 {
        let asked = Instant::now();
        let refused = refusal(one.acquire("t").await);
        assert!(matches!(refused, Refusal::StoreLost { .. }), "{refused}");
        assert_eq!(refused.retry_after(), Duration::from_secs(1));
        println!("refused {:?} after the loss of Redis", asked.elapsed());
        assert!(asked.elapsed() < BOUND);
    }
    let metrics = one.guard.metrics(&"t".parse().unwrap(), ALL).await;
    assert!(metrics.only_this_replica);
    assert_eq!((metrics.active_executions, metrics.scopes[0].allowed), (1, 1));
    tokio::time::timeout(SOON, permit.revoked().cancelled())
        .await
        .expect("it is revoked");
    drop(permit);
    server.start_again().await;
    let back = eventually(async || one.acquire("t").await.is_ok()).await;
    println!("calls were let in {back:?} after Redis was back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_when_redis_is_lost_is_told_soon() {
    let mut server = Server::start().await;
    let one = replica(&server.url(), closed(config(1))).await;
    let _permit = one.acquire("t").await.unwrap();
    let guard = one.guard.clone();
    let waits = async move { refusal(guard.acquire(&scope("t", "a"), ALL).await) };
    let lose = async {
        one.until_waiting(1).await;
        server.kill().await;
        Instant::now()
    };
    let (refused, lost) = tokio::join!(waits, lose);
    assert!(matches!(refused, Refusal::StoreLost { .. }), "{refused}");
    assert!(lost.elapsed() < BOUND, "{:?}", lost.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_no_longer_answers_is_lost_too() {
    let server = Server::start().await;
    let one = replica(&server.url(), closed(config(4))).await;
    drop(one.acquire("t").await.unwrap());
    server.stall().await;
    let asked = Instant::now();
    let refused = refusal(one.acquire("t").await);
    assert!(matches!(refused, Refusal::StoreLost { .. }), "{refused}");
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    server.resume().await;
    eventually(async || one.acquire("t").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_replica_lets_in_its_part_and_ends_nothing() {
    let mut server = Server::start().await;
    let limits = GuardConfig {
        queue_wait: Duration::ZERO,
        ..config(4)
    };
    let one = replica(&server.url(), local(limits)).await;
    let other = replica(&server.url(), local(limits)).await;
    // Both have heard of each other.
    let replicas = one.redis.keys().guard_replicas();
    eventually(async || one.redis.query::<u32>(redis::cmd("ZCARD").arg(&replicas)).await == Ok(2)).await;
    tokio::time::sleep(LEASE.renew_every * 2).await;
    let before = one.acquire("t").await.unwrap();
    server.kill().await;

    let asked = Instant::now();
    let mut begun = vec![one.acquire("t").await.unwrap()];
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    let refused = refusal(one.acquire("t").await);
    assert!(
        matches!(refused, Refusal::Concurrency { limit: 2, .. }),
        "its part is 2, and what ran before has one of it: {refused}"
    );
    for _ in 0..2 {
        begun.push(other.acquire("t").await.unwrap());
    }
    refusal(other.acquire("t").await);
    tokio::time::sleep(LEASE.length * 2).await;
    assert!(!before.revoked().is_cancelled(), "what ran runs on");

    server.start_again().await;
    // All that was let in meanwhile is counted again.
    eventually(async || {
        one.redis
            .query::<u32>(redis::cmd("ZCARD").arg(&one.redis.keys().guard_slots()[1]))
            .await
            == Ok(4)
    })
    .await;
    eventually(async || one.running("t").await == 4).await;
    refusal(one.acquire("t").await);
    assert!(begun.iter().all(|permit| !permit.revoked().is_cancelled()));
    drop((before, begun));
    eventually(async || one.running("t").await == 0).await;
    eventually(async || other.acquire("t").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_learns_what_runs_and_the_limit_holds_again() {
    let mut server = Server::start().await;
    let limits = GuardConfig {
        queue_wait: Duration::ZERO,
        ..config(2)
    };
    let one = replica(&server.url(), closed(limits)).await;
    let other = replica(&server.url(), closed(limits)).await;
    let held = [one.acquire("t").await.unwrap(), one.acquire("t").await.unwrap()];
    server.kill().await;
    server.start_again().await;
    let again = eventually(async || {
        let metrics = other.guard.metrics(&"t".parse().unwrap(), ALL).await;
        !metrics.only_this_replica && metrics.active_executions == 2
    })
    .await;
    println!("what ran was counted again {again:?} after Redis was back, empty");
    let refused = refusal(other.acquire("t").await);
    assert!(matches!(refused, Refusal::Concurrency { .. }), "{refused}");
    tokio::time::sleep(LEASE.length * 2).await;
    assert!(held.iter().all(|permit| !permit.revoked().is_cancelled()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_when_redis_is_emptied_waits_on() {
    let server = Server::start().await;
    let one = replica(&server.url(), closed(config(1))).await;
    let permit = one.acquire("t").await.unwrap();
    let guard = one.guard.clone();
    let waits = async move { guard.acquire(&scope("t", "a"), ALL).await.map(drop) };
    let empty = async {
        one.until_waiting(1).await;
        one.redis.query::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
        one.until_waiting(1).await;
        drop(permit);
    };
    let (begun, ()) = tokio::join!(waits, empty);
    begun.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_without_redis_uses_it_as_soon_as_it_is_there() {
    let mut server = Server::start().await;
    server.kill().await;
    let one = replica(&server.url(), closed(config(1))).await;
    assert!(matches!(
        refusal(one.acquire("t").await),
        Refusal::StoreLost { .. }
    ));
    server.start_again().await;
    eventually(async || one.acquire("t").await.is_ok()).await;
}
