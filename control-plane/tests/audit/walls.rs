//! What the database itself sees to, for a role that owns the tables and is no superuser.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::rig::{Rig, acts};
use crate::stores::{MAINTENANCE, ROLE, SERVICE, Store, superuser, with_postgres};

/// As the owner of the tables.
async fn as_role(
    connection: &mut PgConnection,
    rig: &Rig,
    tenant: Option<&str>,
    sql: &str,
) -> Result<u64, String> {
    run_as(connection, rig, ROLE, tenant, sql).await
}

async fn run_as(
    connection: &mut PgConnection,
    rig: &Rig,
    role: &str,
    tenant: Option<&str>,
    sql: &str,
) -> Result<u64, String> {
    let mut transaction = connection.begin().await.unwrap();
    let schema = rig.store.schema();
    let prepare = format!("SET LOCAL ROLE {role}; SET LOCAL search_path = {schema}");
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *transaction)
        .await
        .unwrap();
    if let Some(tenant) = tenant {
        sqlx::query("SELECT set_config('app.tenant', $1, true)")
            .bind(tenant)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *transaction)
        .await;
    transaction.rollback().await.unwrap();
    done.map(|done| done.rows_affected())
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_in_both_stores_and_both_verify() {
    what_was_done_by(SERVICE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_role_for_everything_does_as_well() {
    what_was_done_by(ROLE).await;
}

async fn what_was_done_by(role: &'static str) {
    with_postgres(async |store: Arc<Store>| {
        let mut rig = Rig::new(&store).await;
        rig.role = role;
        let server = rig.server().await;
        acts(&server.audit, 10).await;
        server.stop().await;
        let verified = rig.verify().await;
        let names: Vec<_> = verified.iter().map(|store| store.store.as_str()).collect();
        assert_eq!(names, ["Postgres", rig.config.file.to_str().unwrap()]);
        for store in &verified {
            assert_eq!(
                (&store.findings, &store.unclosed),
                (&vec![], &vec![]),
                "{}",
                store.store
            );
        }
        // 20 lines of entries, and the chain's own: begun, file, anchored, ended.
        assert_eq!((verified[0].lines, verified[1].lines), (24, 24));
        assert_eq!(
            rig.count("audit_events_2026_01").await,
            24,
            "in the partition of the month"
        );
        let whole = "audit_events WHERE phase = 'closed' AND tenant_id = 'acme' AND action = 'dynamic.exec'
            AND target = 'weather' AND subject = 'ann@acme' AND client = 'test' AND request_id = 'req-1'
            AND verdict = 'ran' AND outcome = 'ok' AND revision = 3 AND duration_ms = 1.234";
        assert_eq!(rig.count(whole).await, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sees_its_own_entries_and_nobody_changes_any() {
    with_postgres(async |store: Arc<Store>| {
        let rig = Rig::new(&store).await;
        let server = rig.server().await;
        acts(&server.audit, 5).await;
        server.stop().await;
        let connection = &mut superuser().await;
        let all = "SELECT * FROM audit_events";
        assert_eq!(as_role(connection, &rig, Some("acme"), all).await, Ok(6));
        assert_eq!(as_role(connection, &rig, Some("rival"), all).await, Ok(4));
        assert_eq!(as_role(connection, &rig, None, all).await, Ok(0));
        assert_eq!(as_role(connection, &rig, Some(""), all).await, Ok(0));
        for partition in ["audit_events_2026_01", "audit_events_other"] {
            let around = format!("SELECT * FROM {partition}");
            assert_eq!(as_role(connection, &rig, Some("acme"), &around).await, Ok(0));
            let into = format!("INSERT INTO {partition} SELECT * FROM audit_events");
            assert_eq!(as_role(connection, &rig, None, &into).await, Ok(0));
        }
        for change in ["UPDATE audit_events SET line = ''", "DELETE FROM audit_events"] {
            assert_eq!(
                as_role(connection, &rig, Some("acme"), change).await,
                Ok(0),
                "{change}"
            );
        }
        for change in [
            "TRUNCATE audit_events",
            "TRUNCATE audit_events_2026_01",
            "UPDATE audit_anchors SET seq = 1",
            "DELETE FROM audit_anchors",
            "TRUNCATE audit_anchors",
        ] {
            let refused = as_role(connection, &rig, Some("acme"), change).await.unwrap_err();
            assert!(refused.contains("append-only"), "{change}: {refused}");
        }
        // A superuser is stopped by the triggers, unless it means it.
        let schema = rig.store.schema();
        for change in ["UPDATE", "DELETE FROM"] {
            let rest = if change == "UPDATE" { "SET line = ''" } else { "" };
            let sql = format!("{change} {schema}.audit_events {rest}");
            let refused = sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await;
            assert!(
                refused.unwrap_err().to_string().contains("append-only"),
                "{change}"
            );
        }
        rig.assert_verified().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_own_nothing_append_and_read_one_tenant_and_that_is_all() {
    with_postgres(async |store: Arc<Store>| {
        let rig = Rig::new(&store).await;
        let server = rig.server().await;
        acts(&server.audit, 5).await;
        server.stop().await;
        let connection = &mut superuser().await;
        let all = "SELECT * FROM audit_events";
        assert_eq!(run_as(connection, &rig, SERVICE, Some("acme"), all).await, Ok(6));
        assert_eq!(run_as(connection, &rig, SERVICE, None, all).await, Ok(0));
        for forbidden in [
            "SELECT * FROM audit_events_2026_01",
            "UPDATE audit_events SET line = ''",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "DELETE FROM audit_anchors",
            "DROP TABLE audit_events_2026_01",
            "ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY",
            "SELECT * FROM audit_months()",
        ] {
            let refused = run_as(connection, &rig, SERVICE, Some("acme"), forbidden).await;
            assert!(refused.is_err(), "{forbidden}: {refused:?}");
        }
        // To say so does not make it the owner.
        let pretends = format!("SELECT set_config('app.audit_verify', 'on', true) FROM ({all}) AS lines");
        assert_eq!(run_as(connection, &rig, SERVICE, None, &pretends).await, Ok(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_across_tenants_verifies_and_who_sees_one_at_a_time_cannot() {
    with_postgres(async |store: Arc<Store>| {
        let rig = Rig::new(&store).await;
        let server = rig.server().await;
        acts(&server.audit, 2).await;
        server.stop().await;
        for role in [ROLE, MAINTENANCE] {
            let verified = rig.verify_as(role).await.unwrap();
            assert_eq!((verified[0].lines, &verified[0].findings), (8, &vec![]), "{role}");
        }
        let refused = rig.verify_as(SERVICE).await.unwrap_err().to_string();
        assert!(refused.contains("one tenant at a time"), "{refused}");
    })
    .await;
}
