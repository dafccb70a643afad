//! How a replica hears of what other replicas wrote: a listener for speed, a poll for certainty.
//!
//! Notifications are not kept for a listener that is away, and a connection can be dead without either end knowing.
//! So whenever the listener was lost everything is told as unknown, once at the loss (the store may be gone, which
//! should be noticed) and once when it listens again (for what happened in between).

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::TenantId;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use super::Shared;

const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long a notification may be under way before the poll takes it for lost.
const NOTIFICATION_DELAY: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// The payload: the tenant's version and the tenant.
pub(super) fn payload(tenant: &TenantId, version: i64) -> String {
    format!("{version} {tenant}")
}

fn parse_payload(payload: &str) -> Option<(TenantId, i64)> {
    let (version, tenant) = payload.split_once(' ')?;
    Some((TenantId::from_store(tenant).ok()?, version.parse().ok()?))
}

/// A listener with a connection of its own: one taken from the pool would be missing there, and would wait behind
/// the operations.
pub(super) async fn listen(options: PgConnectOptions, channel: &str) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    // A lost connection is reported at once: the listener is then made anew, not mended.
    listener.eager_reconnect(false);
    tokio::time::timeout(CONNECT_TIMEOUT, listener.listen(channel))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(listener)
}

pub(super) async fn follow(shared: Arc<Shared>, mut listener: PgListener) {
    loop {
        tokio::select! {
            () = hear(&shared, &mut listener) => {}
            () = shared.listener_is_deaf.notified() => {}
        }
        drop(listener);
        shared.changes.tell_unknown();
        listener = listen_again(&shared).await;
        shared.changes.tell_unknown();
    }
}

/// Ends when the connection is lost.
async fn hear(shared: &Shared, listener: &mut PgListener) {
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => match parse_payload(notification.payload()) {
                Some((tenant, version)) => shared.changes.tell(&tenant, version),
                // Not ours, or a newer version's.
                None => shared.changes.tell_unknown(),
            },
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the registry's listener failed");
                return;
            }
        }
    }
}

async fn listen_again(shared: &Shared) -> PgListener {
    let mut pause = FIRST_RETRY;
    loop {
        match listen(shared.options.clone(), &shared.channel).await {
            Ok(listener) => {
                tracing::info!("listening for changes of the tool registry again");
                return listener;
            }
            Err(error) => tracing::debug!(%error, "can't listen for changes of the tool registry yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

pub(super) async fn poll(shared: Arc<Shared>) {
    let mut sum = None;
    loop {
        tokio::time::sleep(POLL_EVERY).await;
        // A failure needs no word: the listener has noticed it, or will.
        let Ok(Some(versions)) = shared.versions(sum).await else {
            continue;
        };
        sum = Some(versions.sum);
        let untold = shared.changes.untold(&versions);
        if untold.is_empty() {
            continue;
        }
        tokio::time::sleep(NOTIFICATION_DELAY).await;
        if shared.changes.tell_untold(&untold, &versions) {
            tracing::warn!("a change of the tool registry was not heard of; listening anew");
            shared.listener_is_deaf.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_payload_reads_back() {
        let tenant: TenantId = "team|a:b".parse().unwrap();
        assert_eq!(parse_payload(&payload(&tenant, 7)), Some((tenant, 7)));
        for wrong in ["", "7", "x tenant", "7 two words"] {
            assert_eq!(parse_payload(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_passed_over(text in "[0-9-]{0,20}[ a-z|:]{0,3}.{0,20}", version in any::<i64>()) {
            let _ = parse_payload(&text);
            let tenant = TenantId::default();
            prop_assert_eq!(parse_payload(&payload(&tenant, version)), Some((tenant, version)));
        }
    }
}
