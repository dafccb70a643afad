//! What only Postgres has: replicas that start at once, a connection that is lost, row-level security.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::registry::{
    Change, PostgresConfig, PostgresRegistry, Registry, RegistryError,
};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::broadcast;

use crate::proxy::{Proxy, Wire};
use crate::stores::{ROLE, Store, eventually, name, postgres_url, spec, superuser, tenant, with_postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_migrate_once() {
    with_postgres(async |store: Arc<Store>| {
        let registries = join_all((0..12).map(|_| store.replica())).await;
        let acme = tenant("acme");
        let creates = registries.iter().enumerate().map(|(number, registry)| {
            let (acme, spec) = (&acme, spec(&format!("tool-{number}")));
            async move { registry.create(acme, &spec, 100, "ann").await }
        });
        for created in join_all(creates).await {
            created.unwrap();
        }
        let sql = format!("SELECT count(*) FROM {}._sqlx_migrations", store.schema());
        let migrations: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut superuser().await)
            .await
            .unwrap();
        assert_eq!(migrations, 1);
        assert_eq!(registries[0].load(&acme).await.unwrap().len(), 12);
    })
    .await;
}

async fn as_tenant(
    connection: &mut PgConnection,
    store: &Store,
    tenant: Option<&TenantId>,
    sql: &str,
) -> u64 {
    let mut transaction = connection.begin().await.unwrap();
    let prepare = format!(
        "SET LOCAL ROLE {ROLE}; SET LOCAL search_path = {}",
        store.schema()
    );
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *transaction)
        .await
        .unwrap();
    if let Some(tenant) = tenant {
        sqlx::query("SELECT set_config('app.tenant', $1, true)")
            .bind(tenant.as_str())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    let affected = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    affected.rows_affected()
}

/// Queries that forget the tenant, as a bug would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_level_security_holds_for_the_owner_of_the_tables() {
    with_postgres(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let (acme, rival) = (tenant("acme"), tenant("rival"));
        registry.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
        registry.create(&rival, &spec("hello"), 10, "eve").await.unwrap();
        registry.create(&rival, &spec("other"), 10, "eve").await.unwrap();

        let connection = &mut superuser().await;
        let owners: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = $1")
                .bind(store.schema())
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        assert_eq!(owners, [ROLE]);
        for table in ["tools", "tool_revisions"] {
            let all = format!("SELECT * FROM {table}");
            assert_eq!(as_tenant(connection, &store, Some(&acme), &all).await, 1);
            assert_eq!(as_tenant(connection, &store, Some(&rival), &all).await, 2);
            assert_eq!(as_tenant(connection, &store, None, &all).await, 0);
        }
        let delete = "DELETE FROM tools";
        assert_eq!(as_tenant(connection, &store, Some(&acme), delete).await, 1);
        assert_eq!(as_tenant(connection, &store, None, delete).await, 0);
        let theirs = "UPDATE tools SET spec = '{}' WHERE tenant_id = 'rival'";
        assert_eq!(as_tenant(connection, &store, Some(&acme), theirs).await, 0);
    })
    .await;
}

async fn next_is(changes: &mut broadcast::Receiver<Change>, wanted: &Change) {
    let told = async { while changes.recv().await.unwrap() != *wanted {} };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .expect("the change is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listener_is_told_as_unknown_and_listens_again() {
    with_postgres(async |store: Arc<Store>| {
        let (one, other) = (store.replica().await, store.replica().await);
        let acme = tenant("acme");
        let mut there = other.changes();
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN \"{}\"'",
            store.schema()
        );
        let killed = sqlx::raw_sql(AssertSqlSafe(kill))
            .execute(&mut superuser().await)
            .await
            .unwrap();
        assert_eq!(killed.rows_affected(), 2);
        next_is(&mut there, &Change::Unknown).await;
        next_is(&mut there, &Change::Unknown).await;
        one.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
        next_is(&mut there, &Change::Tenant(acme)).await;
    })
    .await;
}

/// As a write whose notification never arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_not_heard_of_is_found_by_the_poll() {
    with_postgres(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let acme = tenant("acme");
        let mut changes = registry.changes();
        let sql = format!(
            "INSERT INTO {}.registry_versions VALUES ('acme', 1)",
            store.schema()
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut superuser().await)
            .await
            .unwrap();
        next_is(&mut changes, &Change::Tenant(acme)).await;
        // The listener that should have heard of it is made anew.
        next_is(&mut changes, &Change::Unknown).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_is_told_once() {
    with_postgres(async |store: Arc<Store>| {
        let (one, other) = (store.replica().await, store.replica().await);
        let mut here = one.changes();
        let acme = tenant("acme");
        one.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
        other
            .create(&tenant("last"), &spec("hello"), 10, "ann")
            .await
            .unwrap();
        assert_eq!(here.recv().await.unwrap(), Change::Tenant(acme));
        assert_eq!(here.recv().await.unwrap(), Change::Tenant(tenant("last")));
        // Only the poll finds this one, and would tell the others with it if they were still to be told.
        let sql = format!(
            "INSERT INTO {}.registry_versions VALUES ('marker', 1)",
            store.schema()
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut superuser().await)
            .await
            .unwrap();
        assert_eq!(here.recv().await.unwrap(), Change::Tenant(tenant("marker")));
    })
    .await;
}

async fn unavailable_within_about_a_second(registry: &PostgresRegistry) {
    let acme = tenant("acme");
    let started = Instant::now();
    let write = registry
        .create(&acme, &spec("other"), 10, "ann")
        .await
        .unwrap_err();
    let took = started.elapsed();
    assert!(matches!(write, RegistryError::Unavailable { .. }), "{write:?}");
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let read = registry.get(&acme, &name("hello")).await.unwrap_err();
    assert!(matches!(read, RegistryError::Unavailable { .. }), "{read:?}");
    assert!(registry.check().await.is_err());
}

async fn lost_and_back(wire: Wire) {
    with_postgres(async |store: Arc<Store>| {
        let proxy = Proxy::before(&postgres_url()).await;
        let registry = store.postgres(proxy.url()).await;
        let acme = tenant("acme");
        registry.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
        let mut changes = registry.changes();

        proxy.set(wire);
        // More often than the pool has connections: none may stay taken by an operation that gave up.
        for _ in 0..4 {
            unavailable_within_about_a_second(&registry).await;
        }
        proxy.set(Wire::Up);
        eventually("the registry answers again", async || registry.check().await.ok()).await;
        registry.update(&acme, &spec("hello"), 1, "ann").await.unwrap();
        assert_eq!(registry.load(&acme).await.unwrap()[0].revision, 2);

        // What another replica writes now is heard of, too.
        let other = store.replica().await;
        other.update(&acme, &spec("hello"), 2, "bob").await.unwrap();
        next_is(&mut changes, &Change::Tenant(acme)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_wire_fails_within_a_second_and_heals() {
    lost_and_back(Wire::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_wire_fails_within_a_second_and_heals() {
    lost_and_back(Wire::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_up_waits_for_a_database_that_comes_up_late() {
    with_postgres(async |store: Arc<Store>| {
        let proxy = Proxy::before(&postgres_url()).await;
        proxy.set(Wire::Cut);
        let mut config = store.postgres_config(proxy.url());
        config.init_max_attempts = 10;
        let connecting = PostgresRegistry::connect(config, store.clock.clone(), store.lifecycle.clone());
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.set(Wire::Up);
        };
        let (registry, ()) = tokio::join!(connecting, later);
        registry.unwrap().check().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn start_up_gives_up_after_its_attempts_and_never_shows_the_password() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let connect = |url: String, schema: &str| {
        let config = PostgresConfig {
            url: url.into(),
            schema: schema.to_owned(),
            init_max_attempts: 3,
            init_backoff: Duration::from_millis(20),
        };
        PostgresRegistry::connect(
            config,
            Arc::new(SystemClock),
            Lifecycle::new(Duration::from_secs(1)),
        )
    };
    let url = format!("postgres://ann:hunter2@{closed}/tools");
    let refused = connect(url.clone(), "dynamic_mcp").await.err().unwrap();
    assert!(refused.to_string().contains("after 3 attempts"), "{refused}");
    let no_url = connect("postgres://ann:hunter2@[/tools".to_owned(), "dynamic_mcp")
        .await
        .err()
        .unwrap();
    let schema = connect(url, "a; DROP TABLE tools").await.err().unwrap();
    assert_eq!((no_url.kind(), schema.kind()), ("configuration", "configuration"));
    for error in [refused, no_url, schema] {
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
