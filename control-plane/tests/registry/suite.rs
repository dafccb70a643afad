//! What both stores must do.

use std::sync::Arc;

use chrono::Duration;
use dynamic_mcp_control_plane::registry::{RegistryError, ToolSpec};
use dynamic_mcp_control_plane::tenant::{TenantRecord, TenantSettings};
use dynamic_mcp_shared::clock::Clock;
use futures::future::join_all;

use crate::stores::{Store, expect_change, name, spec, tenant};

macro_rules! over_both_stores {
    ($($behaviour:ident),* $(,)?) => {
        mod over_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                crate::stores::with_sqlite(super::$behaviour).await;
            })*
        }
        mod over_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                crate::stores::with_postgres(super::$behaviour).await;
            })*
        }
    };
}

over_both_stores!(
    what_was_created_reads_back_the_same,
    a_second_tool_of_a_name_is_refused,
    tools_load_in_the_order_of_their_names,
    an_update_keeps_the_time_of_creation_and_counts_on,
    a_stale_revision_is_refused_with_both_revisions,
    of_concurrent_updates_one_wins,
    a_delete_answers_what_was_deleted,
    revisions_go_on_after_a_delete,
    every_write_is_in_the_history_of_its_tenant,
    no_tool_past_the_maximum_even_when_many_race,
    tenants_are_kept_apart,
    what_is_set_for_a_tenant_is_kept_for_it_alone,
    stale_settings_are_refused_with_both_revisions,
    a_replica_sees_and_hears_what_another_wrote,
    tools_survive_a_restart,
    a_closed_store_says_so,
);

const MAX: usize = 256;

async fn what_was_created_reads_back_the_same(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    let full = ToolSpec {
        dependencies: vec![dynamic_mcp_shared::job::Dependency {
            name: "lodash".into(),
            version: "^4.17.0".into(),
        }],
        dependency_lock: Some("{\"lockfileVersion\":3}".to_owned()),
        output_schema: Some(serde_json::json!({"type": "object"})),
        ..spec("hello.world")
    };
    let created = registry.create(&acme, &full, MAX, "ann").await.unwrap();
    assert_eq!(created.spec, full);
    assert_eq!((created.revision, created.created_at), (1, store.clock.now()));
    assert_eq!(created.updated_at, created.created_at);
    assert_eq!(created.content_hash, full.content_hash());

    let read = registry.get(&acme, &name("hello.world")).await.unwrap();
    assert_eq!(read, Some(created.clone()));
    assert_eq!(registry.load(&acme).await.unwrap().tools, [created]);
    assert_eq!(registry.get(&acme, &name("hello")).await.unwrap(), None);
    registry.check().await.unwrap();
}

async fn a_second_tool_of_a_name_is_refused(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    let error = registry
        .create(&acme, &spec("hello"), MAX, "ann")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::AlreadyExists(_)), "{error:?}");
}

async fn tools_load_in_the_order_of_their_names(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    for tool in ["beta", "alpha.z", "Zeta", "alpha", "alpha_a"] {
        registry.create(&acme, &spec(tool), MAX, "ann").await.unwrap();
    }
    let loaded = registry.load(&acme).await.unwrap().tools;
    let names: Vec<&str> = loaded.iter().map(|record| record.spec.name.as_str()).collect();
    assert_eq!(names, ["Zeta", "alpha", "alpha.z", "alpha_a", "beta"]);
}

async fn an_update_keeps_the_time_of_creation_and_counts_on(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    let created = registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    store.clock.advance(Duration::minutes(5));

    let changed = ToolSpec {
        code: "return 2".to_owned(),
        ..spec("hello")
    };
    let updated = registry.update(&acme, &changed, 1, "bob").await.unwrap();
    assert_eq!((updated.revision, &updated.spec), (2, &changed));
    assert_eq!(updated.created_at, created.created_at);
    assert_eq!(updated.updated_at, store.clock.now());
    assert_ne!(updated.content_hash, created.content_hash);

    let disabled = ToolSpec {
        enabled: false,
        ..changed
    };
    let disabled = registry.update(&acme, &disabled, 2, "bob").await.unwrap();
    assert_eq!(disabled.revision, 3);
    assert_eq!(disabled.content_hash, updated.content_hash);
    assert_eq!(registry.get(&acme, &name("hello")).await.unwrap(), Some(disabled));
}

async fn a_stale_revision_is_refused_with_both_revisions(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    registry.update(&acme, &spec("hello"), 1, "ann").await.unwrap();

    let update = registry
        .update(&acme, &spec("hello"), 1, "bob")
        .await
        .unwrap_err();
    let delete = registry
        .delete(&acme, &name("hello"), Some(7), "bob")
        .await
        .unwrap_err();
    assert!(
        matches!(
            update,
            RegistryError::Conflict {
                expected: 1,
                actual: 2,
                ..
            }
        ),
        "{update:?}"
    );
    assert!(
        matches!(
            delete,
            RegistryError::Conflict {
                expected: 7,
                actual: 2,
                ..
            }
        ),
        "{delete:?}"
    );
    let text = update.to_string();
    assert!(
        text.contains("revision 2") && text.contains("revision 1"),
        "{text}"
    );

    let missing = registry
        .update(&acme, &spec("other"), 1, "bob")
        .await
        .unwrap_err();
    assert!(matches!(missing, RegistryError::NotFound(_)), "{missing:?}");
    assert_eq!(registry.load(&acme).await.unwrap().tools[0].revision, 2);
}

/// On a busy machine the last in a line waits past a write's deadline, which is not what a race of writes looks at.
async fn patiently<T>(write: impl AsyncFn() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
    loop {
        match write().await {
            Err(RegistryError::Unavailable { .. }) => {}
            ended => return ended,
        }
    }
}

async fn of_concurrent_updates_one_wins(store: Arc<Store>) {
    let (one, other) = (store.replica().await, store.replica().await);
    let acme = tenant("acme");
    one.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    let updates = (0..10).map(|number| {
        let registry = if number % 2 == 0 { &one } else { &other };
        let changed = ToolSpec {
            code: format!("return {number}"),
            ..spec("hello")
        };
        let acme = &acme;
        async move { patiently(async || registry.update(acme, &changed, 1, "ann").await).await }
    });
    let ended = join_all(updates).await;
    let lost = |error: &RegistryError| {
        matches!(
            error,
            RegistryError::Conflict {
                expected: 1,
                actual: 2,
                ..
            }
        )
    };
    assert_eq!(
        ended.iter().filter(|result| result.is_ok()).count(),
        1,
        "{ended:?}"
    );
    assert!(
        ended.iter().filter_map(|result| result.as_ref().err()).all(lost),
        "{ended:?}"
    );
}

async fn a_delete_answers_what_was_deleted(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    let created = registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    let deleted = registry.delete(&acme, &name("hello"), None, "ann").await.unwrap();
    assert_eq!(deleted, created);
    assert_eq!(registry.load(&acme).await.unwrap().tools, []);
    let again = registry
        .delete(&acme, &name("hello"), None, "ann")
        .await
        .unwrap_err();
    assert!(matches!(again, RegistryError::NotFound(_)), "{again:?}");
}

/// Create, update, delete, create: the tombstone is a revision too.
async fn revisions_go_on_after_a_delete(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    registry.update(&acme, &spec("hello"), 1, "ann").await.unwrap();
    registry
        .delete(&acme, &name("hello"), Some(2), "ann")
        .await
        .unwrap();
    store.clock.advance(Duration::hours(1));
    let anew = registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    assert_eq!((anew.revision, anew.created_at), (4, store.clock.now()));
}

async fn every_write_is_in_the_history_of_its_tenant(store: Arc<Store>) {
    let registry = store.replica().await;
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let first = registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    store.clock.advance(Duration::hours(1));
    let changed = ToolSpec {
        code: "return 2".to_owned(),
        ..spec("hello")
    };
    registry.update(&acme, &changed, 1, "bob").await.unwrap();
    registry.delete(&acme, &name("hello"), None, "cy").await.unwrap();
    registry
        .create(&globex, &spec("hello"), MAX, "eve")
        .await
        .unwrap();
    let history = async |before, limit| {
        registry
            .history(&acme, &name("hello"), before, limit)
            .await
            .unwrap()
    };
    let all = history(None, 10).await;
    let told: Vec<_> = all
        .revisions
        .iter()
        .map(|past| (past.revision, past.action.as_str(), past.actor.as_str()))
        .collect();
    assert_eq!(
        told,
        [(3, "delete", "cy"), (2, "update", "bob"), (1, "create", "ann")]
    );
    assert_eq!(all.revisions[2].created_at, first.created_at);
    assert_eq!(all.revisions[1].created_at, store.clock.now());
    assert_eq!(all.revisions[1].code_bytes, changed.code.len());
    assert_eq!(all.next_before, None);

    let page = history(Some(3), 1).await;
    assert_eq!(
        (&page.revisions[..], page.next_before),
        (&all.revisions[1..2], Some(2))
    );
    assert_eq!(history(Some(1), 1).await.revisions, []);
    assert_eq!(history(Some(u64::MAX), 10).await, all);

    let revision = async |revision| registry.revision(&acme, &name("hello"), revision).await.unwrap();
    assert_eq!(revision(1).await.map(|record| record.spec), Some(spec("hello")));
    assert_eq!(revision(2).await.map(|record| record.spec), Some(changed));
    assert_eq!(revision(9).await, None);
    assert_eq!(revision(u64::MAX).await, None);
}

async fn no_tool_past_the_maximum_even_when_many_race(store: Arc<Store>) {
    let (one, other) = (store.replica().await, store.replica().await);
    let acme = tenant("acme");
    let creates = (0..24).map(|number| {
        let registry = if number % 2 == 0 { &one } else { &other };
        let (acme, spec) = (&acme, spec(&format!("tool-{number}")));
        async move { patiently(async || registry.create(acme, &spec, 5, "ann").await).await }
    });
    let ended = join_all(creates).await;
    let refused = |error: &RegistryError| matches!(error, RegistryError::TooMany { limit: 5 });
    assert_eq!(
        ended.iter().filter(|result| result.is_ok()).count(),
        5,
        "{ended:?}"
    );
    assert!(
        ended
            .iter()
            .filter_map(|result| result.as_ref().err())
            .all(refused),
        "{ended:?}"
    );
    assert_eq!(one.load(&acme).await.unwrap().tools.len(), 5);

    // What counts is the tenant's own tools.
    one.create(&tenant("other"), &spec("hello"), 5, "ann")
        .await
        .unwrap();
    one.delete(
        &acme,
        &other.load(&acme).await.unwrap().tools[0].spec.name,
        None,
        "ann",
    )
    .await
    .unwrap();
    one.create(&acme, &spec("hello"), 5, "ann").await.unwrap();
}

async fn tenants_are_kept_apart(store: Arc<Store>) {
    let registry = store.replica().await;
    let (acme, rival) = (tenant("acme"), tenant("rival"));
    registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    registry.update(&acme, &spec("hello"), 1, "ann").await.unwrap();

    assert_eq!(registry.load(&rival).await.unwrap().tools, []);
    assert_eq!(registry.get(&rival, &name("hello")).await.unwrap(), None);
    let update = registry
        .update(&rival, &spec("hello"), 2, "eve")
        .await
        .unwrap_err();
    let delete = registry
        .delete(&rival, &name("hello"), None, "eve")
        .await
        .unwrap_err();
    assert!(matches!(update, RegistryError::NotFound(_)), "{update:?}");
    assert!(matches!(delete, RegistryError::NotFound(_)), "{delete:?}");

    let theirs = registry.create(&rival, &spec("hello"), MAX, "eve").await.unwrap();
    assert_eq!(theirs.revision, 1);
    registry
        .delete(&rival, &name("hello"), None, "eve")
        .await
        .unwrap();
    assert_eq!(
        registry
            .get(&acme, &name("hello"))
            .await
            .unwrap()
            .unwrap()
            .revision,
        2
    );
}

async fn a_replica_sees_and_hears_what_another_wrote(store: Arc<Store>) {
    let (one, other) = (store.replica().await, store.replica().await);
    let acme = tenant("acme");
    let (mut here, mut there) = (one.changes(), other.changes());
    for step in 1..=3 {
        let tool = format!("tool-{step}");
        one.create(&acme, &spec(&tool), MAX, "ann").await.unwrap();
        expect_change(&mut here, &acme).await;
        expect_change(&mut there, &acme).await;
        assert!(other.get(&acme, &name(&tool)).await.unwrap().is_some());
    }
    other
        .delete(&acme, &name("tool-1"), Some(1), "bob")
        .await
        .unwrap();
    expect_change(&mut here, &acme).await;
    assert_eq!(one.load(&acme).await.unwrap().tools.len(), 2);
}

async fn what_is_set_for_a_tenant_is_kept_for_it_alone(store: Arc<Store>) {
    let (one, other) = (store.replica().await, store.replica().await);
    let (acme, rival) = (tenant("acme"), tenant("rival"));
    let mut changes = other.changes();
    let settings = TenantSettings {
        max_tools: Some(3),
        ..TenantSettings::default()
    };
    let written = one.set_tenant(&acme, &settings, 0, "op").await.unwrap();
    assert_eq!((&written.settings, written.revision), (&settings, 1));
    expect_change(&mut changes, &acme).await;
    assert_eq!(other.tenant(&acme).await.unwrap(), written);
    assert_eq!(other.load(&acme).await.unwrap().tenant, written);
    assert_eq!(other.load(&rival).await.unwrap().tenant, TenantRecord::default());
}

async fn stale_settings_are_refused_with_both_revisions(store: Arc<Store>) {
    let registry = store.replica().await;
    let acme = tenant("acme");
    let settings = TenantSettings::default();
    registry.set_tenant(&acme, &settings, 0, "op").await.unwrap();
    let late = registry.set_tenant(&acme, &settings, 0, "op").await.unwrap_err();
    assert_eq!(
        late.to_string(),
        "the tenant's settings are at revision 1, not at the expected revision 0; read them again and retry"
    );
}

async fn tools_survive_a_restart(store: Arc<Store>) {
    let acme = tenant("acme");
    let registry = store.replica().await;
    let created = registry.create(&acme, &spec("hello"), MAX, "ann").await.unwrap();
    registry.close().await;
    let registry = store.replica().await;
    assert_eq!(registry.load(&acme).await.unwrap().tools, [created]);
}

async fn a_closed_store_says_so(store: Arc<Store>) {
    let registry = store.replica().await;
    registry.close().await;
    let error = registry.load(&tenant("acme")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error:?}");
    assert!(registry.check().await.is_err());
}
