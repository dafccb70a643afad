//! What only Postgres has: replicas that start at once, a connection that is lost, row-level security.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::registry::{
    Change, OpenError, PostgresConfig, PostgresRegistry, Registry, RegistryError, Roles, prepare,
};
use dynamic_mcp_control_plane::tenant::TenantSettings;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::broadcast;

use crate::proxy::{Proxy, Wire};
use crate::stores::{
    MAINTENANCE, ROLE, SERVICE, Store, eventually, name, postgres_url, spec, superuser, tenant, with_postgres,
};

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
        assert_eq!(migrations, 3);
        assert_eq!(registries[0].load(&acme).await.unwrap().tools.len(), 12);
    })
    .await;
}

/// Who runs a statement that no part of the product would.
struct As<'a> {
    role: &'a str,
    tenant: Option<&'a TenantId>,
}

impl As<'_> {
    /// How many rows it saw or changed; nothing of it stays.
    async fn run(&self, connection: &mut PgConnection, store: &Store, sql: &str) -> Result<u64, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let (role, schema) = (self.role, store.schema());
        let prepare = format!("SET LOCAL ROLE {role}; SET LOCAL search_path = {schema}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *transaction)
            .await?;
        if let Some(tenant) = self.tenant {
            sqlx::query("SELECT set_config('app.tenant', $1, true)")
                .bind(tenant.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        let affected = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *transaction)
            .await;
        transaction.rollback().await?;
        affected.map(|affected| affected.rows_affected())
    }
}

async fn as_tenant(
    connection: &mut PgConnection,
    store: &Store,
    tenant: Option<&TenantId>,
    sql: &str,
) -> u64 {
    let owner = As { role: ROLE, tenant };
    owner.run(connection, store, sql).await.unwrap()
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

/// Two tenants' tools, settings and revisions, written by a replica that works as the service role.
async fn written_as_service(store: &Store) -> Result<Box<dyn Registry>, OpenError> {
    let roles = Roles {
        service: Some(SERVICE.to_owned()),
        maintenance: Some(MAINTENANCE.to_owned()),
    };
    let owner = store.postgres_config(&postgres_url());
    prepare(&owner, &roles).await?;
    // A second time, as with the next version.
    prepare(&owner, &roles).await?;
    let config = store.postgres_config_as(&postgres_url(), SERVICE);
    let registry = PostgresRegistry::connect(config, Arc::new(SystemClock), store.lifecycle.clone()).await?;
    for owner in ["acme", "rival"] {
        let owner = tenant(owner);
        for name in ["hello", "gone"] {
            registry.create(&owner, &spec(name), 10, "ann").await.unwrap();
        }
        registry.update(&owner, &spec("hello"), 1, "ann").await.unwrap();
        registry.delete(&owner, &name("gone"), None, "ann").await.unwrap();
        registry
            .set_tenant(&owner, &TenantSettings::default(), 0, "op")
            .await
            .unwrap();
    }
    Ok(Box::new(registry))
}

/// Every query without its `WHERE tenant`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_role_sees_one_tenant_at_a_time_whatever_a_query_forgets() {
    with_postgres(async |store: Arc<Store>| {
        let registry = written_as_service(&store).await.unwrap();
        assert_eq!(registry.load(&tenant("acme")).await.unwrap().tools.len(), 1);
        let connection = &mut superuser().await;
        let acme = tenant("acme");
        for (table, rows) in [("tools", 1), ("tool_revisions", 4), ("tenants", 1)] {
            let all = format!("SELECT * FROM {table}");
            for (tenant, sees) in [(Some(&acme), rows), (None, 0)] {
                let service = As {
                    role: SERVICE,
                    tenant,
                };
                assert_eq!(
                    service.run(connection, &store, &all).await.unwrap(),
                    sees,
                    "{table}"
                );
            }
            let everybody = As {
                role: MAINTENANCE,
                tenant: None,
            };
            assert_eq!(
                everybody.run(connection, &store, &all).await.unwrap(),
                2 * rows,
                "{table}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_role_but_the_owner_can_take_the_walls_down() {
    with_postgres(async |store: Arc<Store>| {
        let _registry = written_as_service(&store).await.unwrap();
        let connection = &mut superuser().await;
        let acme = tenant("acme");
        for forbidden in [
            "ALTER TABLE tools DISABLE ROW LEVEL SECURITY",
            "DROP POLICY tools_of_the_tenant ON tools",
            "CREATE POLICY more ON tools USING (true)",
            "DROP TABLE tools CASCADE",
            "CREATE TABLE mine (id int)",
            "DELETE FROM tool_revisions",
            "UPDATE tool_revisions SET actor = 'eve'",
            "INSERT INTO tools SELECT 'rival', 'new', revision, content_hash, spec, created_at, updated_at FROM tools",
        ] {
            let service = As { role: SERVICE, tenant: Some(&acme) };
            let refused = service.run(connection, &store, forbidden).await;
            assert!(refused.is_err(), "{forbidden}: {refused:?}");
        }
        for write in ["DELETE FROM tools", "UPDATE tenants SET revision = 9", "DELETE FROM registry_versions"] {
            let reader = As { role: MAINTENANCE, tenant: None };
            assert!(reader.run(connection, &store, write).await.is_err(), "{write}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_may_not_migrate_says_who_must() {
    with_postgres(async |store: Arc<Store>| {
        let config = store.postgres_config_as(&postgres_url(), SERVICE);
        let clock = Arc::new(SystemClock);
        let refused = PostgresRegistry::connect(config, clock, store.lifecycle.clone()).await;
        let text = refused.err().unwrap().to_string();
        assert!(
            text.contains("run `dynamic-mcp migrate` with the URL of its owner"),
            "{text}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_row_level_security_does_not_hold_is_not_taken_for_the_service() {
    with_postgres(async |store: Arc<Store>| {
        let owner = store.postgres_config(&postgres_url());
        for (role, says) in [
            (ROLE, "would not be held to one tenant"),
            ("postgres", "would not be held to one tenant"),
            ("nobody'; DROP SCHEMA public", "there is no database role"),
        ] {
            let roles = Roles {
                service: Some(role.to_owned()),
                maintenance: None,
            };
            let text = prepare(&owner, &roles).await.unwrap_err().to_string();
            assert!(text.contains(says), "{text}");
        }
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
        assert_eq!(registry.load(&acme).await.unwrap().tools[0].revision, 2);

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
