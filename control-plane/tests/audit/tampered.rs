//! A database that somebody changed who may change anything in it, but does not have the key.

use std::sync::Arc;

use crate::rig::{Rig, acts};
use crate::stores::{Store, with_postgres};

const SECOND: &str = "(SELECT chain FROM audit_events WHERE phase = 'begun' AND line LIKE '%\"after\"%')";

async fn two_servers(store: &Arc<Store>) -> Rig {
    let rig = Rig::new(store).await;
    for _ in 0..2 {
        let server = rig.server().await;
        acts(&server.audit, 6).await;
        server.stop().await;
    }
    rig
}

/// What was found in the database alone.
async fn found(rig: &Rig) -> Vec<String> {
    let store = rig.verify().await.swap_remove(0);
    store.findings.into_iter().map(|finding| finding.what).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_superuser_is_found() {
    with_postgres(async |store: Arc<Store>| {
        let rig = two_servers(&store).await;
        assert_eq!(found(&rig).await, [""; 0]);
        rig.force("CREATE TABLE kept AS SELECT * FROM audit_events; CREATE TABLE anchors_kept AS SELECT * FROM audit_anchors")
            .await;
        let of_second = format!("WHERE chain = {SECOND}");
        let mut changes: Vec<String> = [
            "UPDATE audit_events SET line = replace(line, 'ann@acme', 'eve@acme')",
            "UPDATE audit_events SET line = line || ' ' WHERE seq = 5",
            "UPDATE audit_events SET line = '' WHERE seq = 5",
            "DELETE FROM audit_events WHERE seq = 1",
            "DELETE FROM audit_events WHERE seq = 7",
            "DELETE FROM audit_events WHERE seq > 9",
            "DELETE FROM audit_events",
            "DELETE FROM audit_events WHERE tenant_id = 'rival'",
            "UPDATE audit_events SET seq = 100 - seq",
            "UPDATE audit_events AS one SET line = other.line FROM audit_events AS other
             WHERE one.chain = other.chain AND one.seq IN (5, 6) AND other.seq = 11 - one.seq",
            "INSERT INTO audit_events SELECT chain, 100, at, line, phase FROM audit_events WHERE seq = 5",
            "INSERT INTO audit_events SELECT chain, seq, at + interval '1 day', line, phase FROM audit_events WHERE seq = 5",
            "INSERT INTO audit_events SELECT repeat('a', 32), seq, at, line, phase FROM audit_events WHERE seq = 1 LIMIT 1",
            "DELETE FROM audit_anchors",
            "UPDATE audit_anchors SET seq = seq - 1",
            "UPDATE audit_anchors SET mac = repeat('0', 32)",
        ]
        .map(str::to_owned)
        .into();
        // A whole run of a server, with and without its anchor; the first one's is what the second one followed.
        changes.push(format!("DELETE FROM audit_events {of_second}"));
        changes.push(format!(
            "DELETE FROM audit_events WHERE chain <> {SECOND};
             DELETE FROM audit_anchors WHERE chain NOT IN (SELECT chain FROM audit_events)"
        ));
        for (column, value) in [
            ("phase", "'closed'"),
            ("tenant_id", "'rival'"),
            ("tenant_id", "NULL"),
            ("entry_id", "'aud_0'"),
            ("action", "'run_js_ephemeral'"),
            ("target", "NULL"),
            ("subject", "'eve'"),
            ("client", "'other'"),
            ("request_id", "'req-2'"),
            ("trace_id", "'0123456789abcdef0123456789abcdef'"),
            ("verdict", "'refused'"),
            ("outcome", "'threw'"),
            ("reason", "'rate_limited'"),
            ("revision", "4"),
            ("duration_ms", "1.235"),
            ("at", "at + interval '1 millisecond'"),
        ] {
            changes.push(format!("UPDATE audit_events SET {column} = {value} WHERE tenant_id = 'acme'"));
        }
        for change in changes {
            rig.force(&change).await;
            let findings = found(&rig).await;
            assert!(!findings.is_empty(), "{change}");
            rig.force(
                "DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM kept;
                 DELETE FROM audit_anchors; INSERT INTO audit_anchors SELECT * FROM anchors_kept",
            )
            .await;
        }
        assert_eq!(found(&rig).await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_from_the_database_with_its_anchor_is_found_by_the_files() {
    with_postgres(async |store: Arc<Store>| {
        let rig = two_servers(&store).await;
        rig.force(&format!(
            "CREATE TABLE second AS SELECT {SECOND} AS chain;
             DELETE FROM audit_events WHERE chain IN (SELECT chain FROM second);
             DELETE FROM audit_anchors WHERE chain IN (SELECT chain FROM second)"
        ))
        .await;
        let verified = rig.verify().await;
        assert_eq!(verified[0].findings, []);
        let found: Vec<_> = verified[1].findings.iter().map(|finding| &finding.what).collect();
        assert!(
            found.iter().any(|what| what.contains("does not have its anchor")),
            "{found:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_is_found_by_the_database() {
    with_postgres(async |store: Arc<Store>| {
        let rig = two_servers(&store).await;
        let text = std::fs::read_to_string(&rig.config.file).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        std::fs::write(&rig.config.file, lines[..lines.len() - 2].concat()).unwrap();
        let verified = rig.verify().await;
        assert_eq!(verified[0].findings, []);
        let found: Vec<_> = verified[1].findings.iter().map(|finding| &finding.what).collect();
        assert!(found[0].contains("cut off"), "{found:?}");
    })
    .await;
}
