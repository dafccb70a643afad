//! Two replicas and one Redis: limits hold over both, and what a replica leaves behind comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::guard::{Guard as _, GuardConfig, Lease, RedisGuardConfig, Refusal, Share};
use tokio::task::JoinSet;

use crate::proxy::{Proxy, Wire};
use crate::rig::{ALL, LEASE, SOON, closed, config, counts, eventually, refusal, replica, scope};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_on_all_together_than_may() {
    let server = Server::start().await;
    let now = Arc::new(AtomicU32::new(0));
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(&server.url(), closed(config(5))).await);
    }
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (guard, now) = (replicas[client % 3].guard.clone(), now.clone());
        clients.spawn(async move {
            let mut most = 0;
            for _ in 0..20 {
                let permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
                most = most.max(now.fetch_add(1, Ordering::SeqCst) + 1);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
            most
        });
    }
    let most = clients.join_all().await.into_iter().max();
    assert_eq!(most, Some(5));
    eventually(async || replicas[0].members("leases").await == 0).await;
    let total = counts(&*replicas[0].guard, "t", "a").await;
    assert_eq!((total.allowed, total.total), (160, 160), "of all replicas");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_one_for_all() {
    let server = Server::start().await;
    let mut limits = config(50);
    limits.limits.max_calls_per_window = 7;
    let one = replica(&server.url(), closed(limits)).await;
    let other = replica(&server.url(), closed(limits)).await;
    let mut begun = 0;
    for _ in 0..10 {
        begun += u32::from(one.acquire("t").await.is_ok());
        begun += u32::from(other.acquire("t").await.is_ok());
    }
    assert_eq!(begun, 7);
    eventually(async || counts(&*one.guard, "t", "a").await.rejected_rate == 13).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_one_gives_back_goes_to_who_waits_at_another_though_nobody_tells_it() {
    let server = Server::start().await;
    let one = replica(&server.url(), closed(config(1))).await;
    let other = replica(&server.url(), closed(config(1))).await;
    let permit = one.acquire("t").await.unwrap();
    let guard = other.guard.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { guard.acquire(&scope("t", "a"), ALL).await.is_ok() });
    one.until_waiting(1).await;
    // What is published now is heard by nobody.
    let kill = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("pubsub")
        .to_owned();
    one.redis.query::<u32>(&kill).await.unwrap();
    drop(permit);
    let begun = tokio::time::timeout(SOON, waiting.join_next()).await.unwrap();
    assert!(begun.unwrap().unwrap());
}

/// One in a runtime of its own, which ends as a process does that is killed: nothing is given back.
struct Doomed(Option<tokio::runtime::Runtime>);

impl Doomed {
    fn begin() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self(Some(runtime.unwrap()))
    }

    fn block_on<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        let done = self.0.as_ref().unwrap().handle().spawn(task);
        async move { done.await.unwrap() }
    }

    fn kill(mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_held_is_free_within_its_lease_and_who_waited_there_is_forgotten() {
    let server = Server::start().await;
    let survivor = replica(&server.url(), closed(config(2))).await;
    let doomed = Doomed::begin();
    let url = server.url();
    let left_behind = doomed
        .block_on(async move {
            let replica = replica(&url, closed(config(2))).await;
            let permits = [
                replica.acquire("t").await.unwrap(),
                replica.acquire("t").await.unwrap(),
            ];
            let guard = replica.guard.clone();
            #[expect(clippy::disallowed_methods, reason = "it ends with its runtime")]
            tokio::spawn(async move { guard.acquire(&scope("t", "a"), ALL).await.is_ok() });
            (replica, permits)
        })
        .await;
    survivor.until_waiting(1).await;
    std::mem::forget(left_behind);
    doomed.kill();
    let killed = Instant::now();
    let _both = [
        survivor.acquire("t").await.unwrap(),
        survivor.acquire("t").await.unwrap(),
    ];
    let took = killed.elapsed();
    println!(
        "the slots of a killed replica came back after {took:?}, of a lease of {:?}",
        LEASE.length
    );
    assert!(took < LEASE.length + Duration::from_secs(5), "{took:?}");
    eventually(async || survivor.members("waiting").await == 0).await;
    eventually(async || survivor.members("leases").await == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_ends_its_call_before_another_gets_the_slot() {
    let server = Server::start().await;
    let wire = Proxy::before(&server.url()).await;
    let cut_off = replica(wire.url(), closed(config(1))).await;
    let other = replica(&server.url(), closed(config(1))).await;
    let permit = cut_off.acquire("t").await.unwrap();
    let revoked = permit.revoked().clone();
    let ended = async {
        revoked.cancelled().await;
        Instant::now()
    };
    let guard = other.guard.clone();
    let next = async {
        let permit = guard.acquire(&scope("t", "a"), ALL).await;
        (permit.map(drop), Instant::now())
    };
    // Longer than a lease: it is renewed.
    tokio::time::sleep(LEASE.length + LEASE.renew_every).await;
    assert!(!revoked.is_cancelled());
    wire.set(Wire::Silent);
    let (ended, (next, begun)) = tokio::join!(ended, next);
    next.unwrap();
    assert!(ended < begun, "the next began {:?} before", ended - begun);
    println!(
        "a call that could not be renewed was ended {:?} before its slot was another's",
        begun - ended
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_slot_is_another_s_is_ended() {
    let server = Server::start().await;
    let one = replica(&server.url(), closed(config(1))).await;
    let permit = one.acquire("t").await.unwrap();
    let leases = one.redis.keys().guard_slots()[1].clone();
    one.redis
        .query::<u32>(redis::cmd("ZREMRANGEBYRANK").arg(leases).arg(0).arg(-1))
        .await
        .unwrap();
    tokio::time::timeout(SOON, permit.revoked().cancelled())
        .await
        .expect("it is revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_one_replica_leaves_a_tenant_at_another_its_turns() {
    let server = Server::start().await;
    let one = replica(&server.url(), closed(config(2))).await;
    let other = replica(&server.url(), closed(config(2))).await;
    let mut flood = JoinSet::new();
    for _ in 0..90 {
        let guard = one.guard.clone();
        flood.spawn(async move {
            let permit = guard.acquire(&scope("flood", "a"), ALL).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(permit);
        });
    }
    eventually(async || one.members("waiting").await > 80).await;
    for _ in 0..10 {
        drop(other.acquire("quiet").await.unwrap());
    }
    let left = one.members("waiting").await;
    assert!(left > 20, "the flood went first: only {left} of it wait");
    flood.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_until_all_is_given_back_and_nothing_is_left() {
    let server = Server::start().await;
    let leaving = replica(&server.url(), closed(config(3))).await;
    let stays = replica(&server.url(), closed(config(3))).await;
    let permit = leaving.acquire("t").await.unwrap();
    leaving.lifecycle.begin_shutdown();
    let finishing = async { leaving.lifecycle.finish().await };
    let ending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(permit);
    };
    let (finished, ()) = tokio::join!(finishing, ending);
    assert!(finished && !leaving.lifecycle.hard().is_cancelled());
    assert_eq!((stays.members("leases").await, stays.running("t").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_has_an_end() {
    let server = Server::start().await;
    let share = Share {
        max_calls_per_window: Some(3),
        ..ALL
    };
    let limits = GuardConfig {
        queue_wait: Duration::from_millis(100),
        ..config(1)
    };
    let one = replica(&server.url(), closed(limits)).await;
    let mut permit = one.guard.acquire(&scope("t", "a"), share).await.unwrap();
    permit.mark_failed();
    let refused = refusal(one.guard.acquire(&scope("t", "a"), share).await);
    assert!(matches!(refused, Refusal::Concurrency { .. }));
    let keys: Vec<String> = one.redis.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    assert!(keys.len() >= 7, "{keys:?}");
    for key in keys {
        let ttl: i64 = one.redis.query(redis::cmd("PTTL").arg(&key)).await.unwrap();
        // Gone meanwhile is well, too.
        assert_ne!(ttl, -1, "{key} stays for ever");
        assert!(key.starts_with("{test:guard}:"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_whose_lease_is_over_when_the_answer_comes_is_not_used() {
    let server = Server::start().await;
    let lease = Lease {
        margin: LEASE.length,
        ..LEASE
    };
    let held_still = replica(
        &server.url(),
        RedisGuardConfig {
            lease,
            ..closed(config(3))
        },
    )
    .await;
    let refused = refusal(held_still.acquire("t").await);
    assert!(matches!(refused, Refusal::StoreLost { .. }), "{refused}");
    eventually(async || held_still.members("leases").await == 0).await;
}
