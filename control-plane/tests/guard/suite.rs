//! What both guards must do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::guard::{
    Guard, GuardConfig, GuardLimits, MemoryGuard, Permit, Refusal, Share,
};
use tokio::task::JoinSet;

use crate::rig::{ALL, closed, config, counts, eventually, redis_config, refusal, replica_of, scope};

macro_rules! over_both_guards {
    ($($behaviour:ident),* $(,)?) => {
        mod over_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::$behaviour(super::Kind::Memory).await;
            })*
        }
        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::$behaviour(super::Kind::Redis).await;
            })*
        }
    };
}

over_both_guards!(
    a_dropped_permit_is_free_again,
    never_more_run_than_may_and_all_get_their_turn,
    what_runs_is_shown_to_its_own_tenant_alone,
    a_call_over_the_rate_is_refused_until_the_window_frees,
    a_call_waits_for_a_slot_and_is_refused_when_none_frees,
    a_call_refused_for_want_of_a_slot_takes_nothing_from_the_window,
    waiting_calls_are_served_in_their_order_and_a_full_queue_refuses_at_once,
    a_caller_that_gives_up_while_it_waits_leaves_nothing_behind,
    a_failed_execution_is_counted_once,
    a_tenants_calls_of_all_tools_together_are_limited_and_another_tenants_are_not,
    a_tenant_has_no_more_than_its_share_and_is_told_that_it_is_its_own,
    a_queue_full_of_one_tenants_calls_takes_another_tenants,
    slots_go_by_weight,
    a_tenant_that_was_stopped_is_refused_at_once_and_runs_again_as_soon_as_it_may,
    a_share_that_was_raised_lets_in_who_waits,
);

#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Redis,
}

async fn with(kind: Kind, config: GuardConfig, test: impl AsyncFnOnce(Arc<dyn Guard>)) {
    match kind {
        Kind::Memory => test(Arc::new(MemoryGuard::new(config))).await,
        Kind::Redis => {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let url = std::env::var("TEST_REDIS_URL").expect("scripts/services prints it");
            let prefix = format!("guard-{}-{number}", std::process::id());
            let replica = replica_of(&redis_config(&url, &prefix), closed(config)).await;
            test(replica.guard.clone()).await;
        }
    }
}

fn limited(max_concurrency: u32, max_calls_per_window: u32, window_ms: u64) -> GuardConfig {
    GuardConfig {
        limits: GuardLimits {
            max_concurrency,
            max_calls_per_window,
            window_ms,
        },
        ..config(max_concurrency)
    }
}

fn impatient(config: GuardConfig) -> GuardConfig {
    GuardConfig {
        queue_wait: Duration::ZERO,
        ..config
    }
}

async fn running(guard: &Arc<dyn Guard>, tenant: &str) -> u32 {
    let metrics = guard.metrics(&tenant.parse().unwrap(), ALL).await;
    metrics.active_executions
}

async fn a_dropped_permit_is_free_again(kind: Kind) {
    with(kind, config(1), async |guard| {
        let permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        assert_eq!(running(&guard, "t").await, 1);
        drop(permit);
        eventually(async || running(&guard, "t").await == 0).await;
        assert!(guard.acquire(&scope("t", "a"), ALL).await.is_ok());
    })
    .await;
}

async fn never_more_run_than_may_and_all_get_their_turn(kind: Kind) {
    with(kind, config(3), async |guard| {
        let now = Arc::new(AtomicU32::new(0));
        let mut calls = JoinSet::new();
        for call in 0..60 {
            let (guard, now) = (guard.clone(), now.clone());
            calls.spawn(async move {
                let tenant = ["a", "b", "c"][call % 3];
                let permit = guard.acquire(&scope(tenant, "tool"), ALL).await.unwrap();
                let running = now.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
                running
            });
        }
        let most = calls.join_all().await.into_iter().max();
        assert_eq!(most, Some(3));
    })
    .await;
}

async fn what_runs_is_shown_to_its_own_tenant_alone(kind: Kind) {
    with(kind, config(8), async |guard| {
        let _permits = [
            guard.acquire(&scope("t", "a"), ALL).await.unwrap(),
            guard.acquire(&scope("t", "b"), ALL).await.unwrap(),
        ];
        assert_eq!(
            (running(&guard, "t").await, running(&guard, "other").await),
            (2, 0)
        );
        assert_eq!(counts(&*guard, "other", "a").await.total, 0);
    })
    .await;
}

async fn a_call_over_the_rate_is_refused_until_the_window_frees(kind: Kind) {
    with(kind, limited(8, 2, 600), async |guard| {
        let begun = Instant::now();
        for _ in 0..2 {
            guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        }
        let refused = refusal(guard.acquire(&scope("t", "a"), ALL).await);
        assert!(matches!(refused, Refusal::Rate { limit: 2, .. }), "{refused}");
        assert!(refused.retry_after() <= Duration::from_millis(600), "{refused}");
        assert!(
            guard.acquire(&scope("t", "b"), ALL).await.is_ok(),
            "another scope has its own window"
        );
        eventually(async || guard.acquire(&scope("t", "a"), ALL).await.is_ok()).await;
        assert!(
            begun.elapsed() >= Duration::from_millis(600),
            "{:?}",
            begun.elapsed()
        );
        eventually(async || {
            let counts = counts(&*guard, "t", "a").await;
            counts.allowed == 3 && counts.rejected_rate >= 1 && counts.total > 3
        })
        .await;
    })
    .await;
}

async fn a_call_waits_for_a_slot_and_is_refused_when_none_frees(kind: Kind) {
    let config = GuardConfig {
        queue_wait: Duration::from_millis(300),
        ..config(1)
    };
    with(kind, config, async |guard| {
        let permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        let before = Instant::now();
        let refused = refusal(guard.acquire(&scope("t", "a"), ALL).await);
        assert!(
            matches!(refused, Refusal::Concurrency { limit: 1, .. }),
            "{refused}"
        );
        assert!(before.elapsed() >= Duration::from_millis(300));
        eventually(async || {
            let counts = counts(&*guard, "t", "a").await;
            (counts.total, counts.allowed, counts.rejected_concurrency) == (2, 1, 1)
        })
        .await;
        let other = scope("t", "b");
        let (next, ()) = tokio::join!(guard.acquire(&other, ALL), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(permit);
        });
        assert!(next.is_ok());
    })
    .await;
}

async fn a_call_refused_for_want_of_a_slot_takes_nothing_from_the_window(kind: Kind) {
    with(kind, impatient(limited(1, 2, 60_000)), async |guard| {
        let permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        for _ in 0..5 {
            let refused = refusal(guard.acquire(&scope("t", "a"), ALL).await);
            assert!(matches!(refused, Refusal::Concurrency { .. }), "{refused}");
        }
        drop(permit);
        eventually(async || guard.acquire(&scope("t", "a"), ALL).await.is_ok()).await;
        let refused = refusal(guard.acquire(&scope("t", "a"), ALL).await);
        assert!(matches!(refused, Refusal::Rate { .. }), "{refused}");
    })
    .await;
}

/// Begins to wait, and does so when this returns: there is nothing else that it could be doing.
async fn wait(
    guard: &Arc<dyn Guard>,
    waiting: &mut JoinSet<Option<(String, Box<dyn Permit>)>>,
    tenant: &str,
    share: Share,
) {
    let (guard, tenant) = (guard.clone(), tenant.to_owned());
    waiting.spawn(async move {
        let permit = guard.acquire(&scope(&tenant, "a"), share).await.ok()?;
        Some((tenant, permit))
    });
    tokio::time::sleep(Duration::from_millis(40)).await;
}

async fn waiting_calls_are_served_in_their_order_and_a_full_queue_refuses_at_once(kind: Kind) {
    let config = GuardConfig {
        max_waiting: 3,
        ..config(1)
    };
    with(kind, config, async |guard| {
        let first = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut waiting = JoinSet::new();
        for index in 0..3 {
            let (guard, order) = (guard.clone(), order.clone());
            waiting.spawn(async move {
                let _permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
                order.lock().unwrap().push(index);
            });
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        let before = Instant::now();
        let refused = refusal(guard.acquire(&scope("t", "a"), ALL).await);
        assert!(before.elapsed() < Duration::from_secs(5), "it did not wait");
        assert!(refused.retry_after() >= Duration::from_millis(50));
        drop(first);
        waiting.join_all().await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    })
    .await;
}

async fn a_caller_that_gives_up_while_it_waits_leaves_nothing_behind(kind: Kind) {
    with(kind, limited(1, 2, 60_000), async |guard| {
        let permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        for _ in 0..10 {
            let given_up =
                tokio::time::timeout(Duration::from_millis(20), guard.acquire(&scope("t", "a"), ALL)).await;
            assert!(!matches!(given_up, Ok(Ok(_))));
        }
        drop(permit);
        eventually(async || guard.acquire(&scope("t", "a"), ALL).await.is_ok()).await;
        eventually(async || running(&guard, "t").await == 0).await;
        assert_eq!(counts(&*guard, "t", "a").await.allowed, 2);
    })
    .await;
}

async fn a_failed_execution_is_counted_once(kind: Kind) {
    with(kind, config(1), async |guard| {
        let mut permit = guard.acquire(&scope("t", "a"), ALL).await.unwrap();
        permit.mark_failed();
        permit.mark_failed();
        drop(permit);
        eventually(async || running(&guard, "t").await == 0).await;
        let counts = counts(&*guard, "t", "a").await;
        assert_eq!((counts.failed, counts.total, counts.allowed), (1, 1, 1));
    })
    .await;
}

async fn a_tenants_calls_of_all_tools_together_are_limited_and_another_tenants_are_not(kind: Kind) {
    with(kind, config(8), async |guard| {
        let share = Share {
            max_calls_per_window: Some(2),
            ..ALL
        };
        for name in ["a", "b"] {
            guard.acquire(&scope("t", name), share).await.unwrap();
        }
        for name in ["c", "d"] {
            let refused = refusal(guard.acquire(&scope("t", name), share).await).to_string();
            assert!(
                refused.starts_with("rate limit: 2 calls of all tools together in 60000 ms are used up"),
                "{refused}"
            );
        }
        assert!(guard.acquire(&scope("other", "c"), share).await.is_ok());
        let raised = Share {
            max_calls_per_window: Some(3),
            ..ALL
        };
        assert!(guard.acquire(&scope("t", "c"), raised).await.is_ok());
    })
    .await;
}

async fn a_tenant_has_no_more_than_its_share_and_is_told_that_it_is_its_own(kind: Kind) {
    with(kind, impatient(config(8)), async |guard| {
        let share = Share {
            max_concurrency: 1,
            ..ALL
        };
        let _running = guard.acquire(&scope("t", "a"), share).await.unwrap();
        let text = refusal(guard.acquire(&scope("t", "b"), share).await).to_string();
        assert!(
            text.starts_with("all 1 execution slots of this tenant are taken"),
            "{text}"
        );
        assert!(guard.acquire(&scope("other", "a"), share).await.is_ok());
    })
    .await;
}

async fn a_queue_full_of_one_tenants_calls_takes_another_tenants(kind: Kind) {
    let config = GuardConfig {
        max_waiting: 2,
        ..config(1)
    };
    with(kind, config, async |guard| {
        let running = guard.acquire(&scope("flood", "a"), ALL).await.unwrap();
        let (mut flood, mut late) = (JoinSet::new(), JoinSet::new());
        for _ in 0..2 {
            wait(&guard, &mut flood, "flood", ALL).await;
        }
        refusal(guard.acquire(&scope("flood", "a"), ALL).await);
        wait(&guard, &mut late, "late", ALL).await;
        let gave_way = flood.join_next().await.unwrap().unwrap();
        assert!(gave_way.is_none(), "the last of the longest queue gave way");
        drop(running);
        drop(late.join_next().await.unwrap().unwrap().expect("it has its turn"));
        assert!(flood.join_next().await.unwrap().unwrap().is_some());
    })
    .await;
}

async fn slots_go_by_weight(kind: Kind) {
    with(kind, config(6), async |guard| {
        let heavy = Share { weight: 2, ..ALL };
        let mut holding = Vec::new();
        for _ in 0..6 {
            holding.push(guard.acquire(&scope("first", "a"), ALL).await.unwrap());
        }
        let mut waiting = JoinSet::new();
        for _ in 0..6 {
            wait(&guard, &mut waiting, "light", ALL).await;
            wait(&guard, &mut waiting, "heavy", heavy).await;
        }
        drop(holding);
        let mut got = Vec::new();
        for _ in 0..6 {
            got.push(waiting.join_next().await.unwrap().unwrap().unwrap());
        }
        let of_heavy = got.iter().filter(|(tenant, _)| tenant == "heavy").count();
        assert_eq!(of_heavy, 4, "twice as many as those of the other");
    })
    .await;
}

async fn a_tenant_that_was_stopped_is_refused_at_once_and_runs_again_as_soon_as_it_may(kind: Kind) {
    with(kind, config(4), async |guard| {
        let stopped = Share {
            max_concurrency: 0,
            ..ALL
        };
        let refused = refusal(guard.acquire(&scope("t", "a"), stopped).await).to_string();
        assert!(refused.contains("stopped this tenant"), "{refused}");
        assert!(guard.acquire(&scope("t", "a"), ALL).await.is_ok());
    })
    .await;
}

async fn a_share_that_was_raised_lets_in_who_waits(kind: Kind) {
    with(kind, config(4), async |guard| {
        let share = |max_concurrency| Share {
            max_concurrency,
            ..ALL
        };
        let _one = guard.acquire(&scope("t", "a"), share(1)).await.unwrap();
        let mut waiting = JoinSet::new();
        wait(&guard, &mut waiting, "t", share(1)).await;
        let _raised = guard.acquire(&scope("t", "a"), share(3)).await.unwrap();
        assert!(waiting.join_next().await.unwrap().unwrap().is_some());
    })
    .await;
}
