use std::time::Duration;

use super::super::GuardLimits;
use super::super::advice::MIN_RETRY;
use super::*;

fn guard(max_concurrency: u32, max_calls_per_window: u32) -> Arc<MemoryGuard> {
    Arc::new(MemoryGuard::new(GuardConfig {
        limits: GuardLimits {
            max_concurrency,
            max_calls_per_window,
            window_ms: 60_000,
        },
        queue_wait: Duration::from_secs(2),
        max_waiting: 3,
    }))
}

/// Of a tenant that may take all there is.
const ALL: Share = Share {
    max_concurrency: u32::MAX,
    max_calls_per_window: None,
    weight: 1,
};

fn scope(name: &str) -> Scope {
    Scope {
        tenant: TenantId::default(),
        name: name.to_owned(),
    }
}

async fn counts(guard: &MemoryGuard, name: &str) -> super::super::ScopeMetrics {
    let metrics = guard.metrics(&TenantId::default(), ALL).await;
    metrics
        .scopes
        .into_iter()
        .find(|scope| scope.scope == name)
        .unwrap_or_default()
}

async fn refusal(guard: &MemoryGuard, name: &str) -> Refusal {
    match guard.acquire(&scope(name), ALL).await {
        Ok(_) => panic!("a permit where a refusal was due"),
        Err(refusal) => refusal,
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_permit_is_free_again() {
    let guard = guard(1, 100);
    let permit = guard.acquire(&scope("a"), ALL).await.unwrap();
    assert_eq!(
        guard.metrics(&TenantId::default(), ALL).await.active_executions,
        1
    );
    drop(permit);
    assert_eq!(
        guard.metrics(&TenantId::default(), ALL).await.active_executions,
        0
    );
    assert!(guard.acquire(&scope("a"), ALL).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_shown_to_its_own_tenant_alone() {
    let guard = guard(8, 100);
    let _permits = [
        guard.acquire(&scope("a"), ALL).await.unwrap(),
        guard.acquire(&scope("b"), ALL).await.unwrap(),
    ];
    let active = async |tenant: &str| {
        let metrics = guard.metrics(&tenant.parse().unwrap(), ALL).await;
        metrics.active_executions
    };
    assert_eq!((active("default").await, active("other").await), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_over_the_rate_is_refused_until_the_window_frees() {
    let guard = guard(8, 2);
    for _ in 0..2 {
        guard.acquire(&scope("a"), ALL).await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    let refusal = refusal(&guard, "a").await;
    assert_eq!(refusal.retry_after(), Duration::from_secs(40));
    assert!(
        guard.acquire(&scope("b"), ALL).await.is_ok(),
        "another scope has its own window"
    );
    tokio::time::advance(refusal.retry_after()).await;
    assert!(guard.acquire(&scope("a"), ALL).await.is_ok());
    let counts = counts(&guard, "a").await;
    assert_eq!((counts.total, counts.allowed, counts.rejected_rate), (4, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_slot_and_is_refused_when_none_frees() {
    let guard = guard(1, 100);
    let permit = guard.acquire(&scope("a"), ALL).await.unwrap();
    let before = Instant::now();
    let refusal = refusal(&guard, "a").await;
    assert!(matches!(refusal, Refusal::Concurrency { limit: 1, .. }));
    assert_eq!(before.elapsed(), Duration::from_secs(2));
    let counts = counts(&guard, "a").await;
    assert_eq!(
        (counts.total, counts.allowed, counts.rejected_concurrency),
        (2, 1, 1)
    );

    let other = scope("b");
    let (next, ()) = tokio::join!(guard.acquire(&other, ALL), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(permit);
    });
    assert!(next.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_refused_for_want_of_a_slot_takes_nothing_from_the_window() {
    let guard = guard(1, 2);
    let permit = guard.acquire(&scope("a"), ALL).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(refusal(&guard, "a").await, Refusal::Concurrency { .. }));
    }
    drop(permit);
    assert!(guard.acquire(&scope("a"), ALL).await.is_ok());
    assert!(matches!(refusal(&guard, "a").await, Refusal::Rate { .. }));
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_served_in_their_order_and_a_full_queue_refuses_at_once() {
    let guard = guard(1, 100);
    let first = guard.acquire(&scope("a"), ALL).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = tokio::task::JoinSet::new();
    for index in 0..3 {
        let (guard, order) = (Arc::clone(&guard), Arc::clone(&order));
        waiting.spawn(async move {
            let _permit = guard.acquire(&scope("a"), ALL).await.unwrap();
            order.lock().push(index);
        });
        tokio::task::yield_now().await;
    }
    let before = Instant::now();
    let refusal = refusal(&guard, "a").await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(refusal.retry_after() >= MIN_RETRY);
    drop(first);
    waiting.join_all().await;
    assert_eq!(*order.lock(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_while_it_waits_leaves_nothing_behind() {
    let guard = guard(1, 2);
    let permit = guard.acquire(&scope("a"), ALL).await.unwrap();
    for _ in 0..10 {
        let given_up = tokio::time::timeout(Duration::from_millis(10), guard.acquire(&scope("a"), ALL)).await;
        assert!(given_up.is_err());
    }
    drop(permit);
    let permit = guard.acquire(&scope("a"), ALL).await;
    assert!(permit.is_ok(), "the window still has its second place");
    assert_eq!(counts(&guard, "a").await.total, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_execution_is_counted_once() {
    let guard = guard(1, 100);
    let mut permit = guard.acquire(&scope("a"), ALL).await.unwrap();
    permit.mark_failed();
    permit.mark_failed();
    drop(permit);
    assert_eq!(counts(&guard, "a").await.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_advice_for_a_busy_guard_follows_how_long_executions_last() {
    let guard = guard(1, 1_000);
    for _ in 0..100 {
        let permit = guard.acquire(&scope("a"), ALL).await.unwrap();
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(permit);
    }
    let _busy = guard.acquire(&scope("b"), ALL).await.unwrap();
    let advice = refusal(&guard, "b").await.retry_after();
    assert!(
        advice > Duration::from_secs(3) && advice < Duration::from_secs(5),
        "{advice:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tenants_calls_of_all_tools_together_are_limited_and_another_tenants_are_not() {
    let guard = guard(8, 100);
    let share = Share {
        max_concurrency: 8,
        max_calls_per_window: Some(2),
        weight: 1,
    };
    for name in ["a", "b"] {
        guard.acquire(&scope(name), share).await.unwrap();
    }
    let refused = guard.acquire(&scope("c"), share).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "rate limit: 2 calls of all tools together in 60000 ms are used up; try again in 60000 ms"
    );
    let other = Scope {
        tenant: "other".parse().unwrap(),
        name: "c".to_owned(),
    };
    assert!(guard.acquire(&other, share).await.is_ok());
    let counts = counts(&guard, "c").await;
    assert_eq!((counts.allowed, counts.rejected_rate), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_share_is_told_that_it_is_its_own() {
    let guard = guard(8, 100);
    let share = Share {
        max_concurrency: 1,
        max_calls_per_window: None,
        weight: 1,
    };
    let _running = guard.acquire(&scope("a"), share).await.unwrap();
    let refused = guard.acquire(&scope("a"), share).await.err().unwrap();
    let text = refused.to_string();
    assert!(
        text.starts_with("all 1 execution slots of this tenant are taken"),
        "{text}"
    );
}
