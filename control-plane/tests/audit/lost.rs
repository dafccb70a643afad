//! A database that is away, and servers that ended before it had their lines.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::audit::{OnLoss, Unaudited, Verdict};

use crate::proxy::{Proxy, Wire};
use crate::rig::{Rig, act, acts, begin};
use crate::stores::{Store, eventually, postgres_url, with_postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_brings_what_the_one_before_could_not() {
    with_postgres(async |store: Arc<Store>| {
        let rig = Rig::new(&store).await;
        let without_database = rig.audit();
        acts(&without_database, 10).await;
        assert!(without_database.flush_and_close().await);
        assert_eq!(rig.count("audit_events").await, 0);
        let server = rig.server().await;
        acts(&server.audit, 1).await;
        server.stop().await;
        rig.assert_verified().await;
        assert_eq!(rig.count("audit_events WHERE phase = 'opened'").await, 11);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_back_is_brought_up_to_date() {
    with_postgres(async |store: Arc<Store>| {
        let proxy = Proxy::before(&postgres_url()).await;
        let mut rig = Rig::new(&store).await;
        rig.url = proxy.url().to_owned();
        let server = rig.server().await;
        acts(&server.audit, 2).await;
        rig.eventually_stored(4).await;
        proxy.set(Wire::Cut);
        acts(&server.audit, 20).await;
        eventually("the loss shows", async || {
            rig.readiness
                .report()
                .degraded
                .contains_key("audit_store")
                .then_some(())
        })
        .await;
        assert!(server.audit.flush().await, "the file is written on");
        proxy.set(Wire::Up);
        rig.eventually_stored(44).await;
        eventually("the recovery shows", async || {
            rig.readiness.report().degraded.is_empty().then_some(())
        })
        .await;
        server.stop().await;
        rig.assert_verified().await;
    })
    .await;
}

/// Some forty lines to a file, of which there are two.
fn small_files(rig: &mut Rig, on_loss: OnLoss) {
    rig.config.on_loss = on_loss;
    rig.config.max_file_bytes = 20_000;
    rig.config.max_files = 2;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_the_database_will_never_have_are_named_and_no_tampering() {
    with_postgres(async |store: Arc<Store>| {
        let proxy = Proxy::before(&postgres_url()).await;
        let mut rig = Rig::new(&store).await;
        small_files(&mut rig, OnLoss::Continue);
        rig.url = proxy.url().to_owned();
        let server = rig.server().await;
        acts(&server.audit, 2).await;
        rig.eventually_stored(4).await;
        proxy.set(Wire::Cut);
        for _ in 0..10 {
            acts(&server.audit, 20).await;
            assert!(server.audit.flush().await);
        }
        assert_eq!(rig.files().len(), 2);
        proxy.set(Wire::Up);
        eventually("the log says what is missing", async || {
            (rig.count("audit_events WHERE phase = 'unsent'").await > 0).then_some(())
        })
        .await;
        server.stop().await;
        rig.assert_verified().await;
        assert!(rig.count("audit_events").await < 300);
        rig.force("DELETE FROM audit_events WHERE phase = 'closed'").await;
        assert!(!rig.verify().await[0].findings.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_refused_before_lines_are_lost_that_the_database_lacks() {
    with_postgres(async |store: Arc<Store>| {
        let proxy = Proxy::before(&postgres_url()).await;
        let mut rig = Rig::new(&store).await;
        small_files(&mut rig, OnLoss::Block);
        rig.url = proxy.url().to_owned();
        let server = rig.server().await;
        acts(&server.audit, 2).await;
        rig.eventually_stored(4).await;
        proxy.set(Wire::Cut);
        let mut done = 2;
        while let Ok(entry) = begin(&server.audit, "acme", "weather").await {
            entry.close(Verdict::Done);
            done += 1;
            assert!(done < 1_000, "nothing is ever refused");
        }
        assert!(rig.readiness.report().degraded["audit"].contains("the database does not have yet"));
        proxy.set(Wire::Up);
        eventually("actions begin again", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match begin(&server.audit, "acme", "weather").await {
                Ok(entry) => {
                    entry.close(Verdict::Done);
                    Some(())
                }
                Err(Unaudited) => None,
            }
        })
        .await;
        act(&server.audit, "acme", "weather").await;
        server.stop().await;
        rig.assert_verified().await;
        assert_eq!(rig.count("audit_events WHERE phase = 'unsent'").await, 0);
        assert!(rig.count("audit_events WHERE phase = 'opened'").await >= done);
    })
    .await;
}
