//! What only a file has: its mode, and several processes that share it.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::registry::{Change, Registry, SqliteRegistry};
use dynamic_mcp_shared::clock::{ManualClock, SystemClock};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::future::join_all;
use sqlx::{Connection, SqliteConnection};

use crate::stores::{Store, name, spec, tenant, with_sqlite};

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.sqlite().await;
        registry
            .create(&tenant("acme"), &spec("hello"), 1, "ann")
            .await
            .unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let path = store.path();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&path.with_extension("sqlite-wal")), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_share_the_file() {
    with_sqlite(async |store: Arc<Store>| {
        let registries = join_all((0..8).map(|_| store.sqlite())).await;
        let acme = tenant("acme");
        let creates = registries.iter().enumerate().map(|(number, registry)| {
            let (acme, spec) = (&acme, spec(&format!("tool-{number}")));
            async move { registry.create(acme, &spec, 100, "ann").await }
        });
        for created in join_all(creates).await {
            created.unwrap();
        }
        assert_eq!(registries[0].load(&acme).await.unwrap().tools.len(), 8);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_another_process_is_told_as_unknown() {
    with_sqlite(async |store: Arc<Store>| {
        let (one, other) = (store.sqlite().await, store.sqlite().await);
        let mut there = other.changes();
        one.create(&tenant("acme"), &spec("hello"), 1, "ann")
            .await
            .unwrap();
        let told = tokio::time::timeout(Duration::from_secs(5), there.recv()).await;
        assert_eq!(told.unwrap().unwrap(), Change::Unknown);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_ends_although_its_caller_goes_away() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.sqlite().await;
        let acme = tenant("acme");
        let mut changes = registry.changes();
        let first_poll = async {
            let spec = spec("hello");
            let mut write = Box::pin(registry.create(&acme, &spec, 1, "ann"));
            let _ = futures::poll!(&mut write);
        };
        first_poll.await;
        assert_eq!(changes.recv().await.unwrap(), Change::Tenant(acme.clone()));
        assert_eq!(registry.load(&acme).await.unwrap().tools.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn every_write_leaves_an_immutable_revision() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.sqlite().await;
        let acme = tenant("acme");
        registry.create(&acme, &spec("hello"), 1, "ann").await.unwrap();
        registry.update(&acme, &spec("hello"), 1, "bob").await.unwrap();
        registry.delete(&acme, &name("hello"), None, "eve").await.unwrap();

        let url = format!("sqlite://{}", store.path().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT revision, action, actor FROM tool_revisions ORDER BY revision")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|(at, action, actor)| (*at, action.as_str(), actor.as_str()))
            .collect();
        assert_eq!(
            rows,
            [(1, "create", "ann"), (2, "update", "bob"), (3, "delete", "eve")]
        );

        for change in [
            "UPDATE tool_revisions SET actor = 'x'",
            "DELETE FROM tool_revisions",
        ] {
            let error = sqlx::query(change).execute(&mut connection).await.unwrap_err();
            assert!(error.to_string().contains("immutable"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.sqlite");
    std::fs::write(
        &path,
        "this is not a database, and long enough to be read as a header of one",
    )
    .unwrap();
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let error = SqliteRegistry::open(&path, Arc::new(SystemClock), lifecycle.clone())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("tools.sqlite"), "{error}");

    let below_a_file = path.join("tools.sqlite");
    let clock = Arc::new(ManualClock::at(chrono::DateTime::UNIX_EPOCH));
    let error = SqliteRegistry::open(&below_a_file, clock, lifecycle)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), "file");
}
