//! The cache over a real store, and over one that fails and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_control_plane::registry::cache::{Tool, ToolCache, Visibility};
use dynamic_mcp_control_plane::registry::{
    Change, History, Holdings, Registry, RegistryError, Revision, ToolName, ToolRecord, ToolSpec,
};
use dynamic_mcp_control_plane::tenant::{TenantLimits, TenantRecord, TenantSettings};
use dynamic_mcp_shared::ids::TenantId;
use futures::future::join_all;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::stores::{Store, defaults, eventually, limits, name, spec, tenant, with_postgres, with_sqlite};

/// A store between which and its user faults can be put.
struct Faulty {
    real: Arc<dyn Registry>,
    lost: AtomicBool,
    loads: AtomicUsize,
    extra: broadcast::Sender<Change>,
}

impl Faulty {
    fn new(real: Arc<dyn Registry>) -> Arc<Self> {
        Arc::new(Self {
            real,
            lost: AtomicBool::new(false),
            loads: AtomicUsize::new(0),
            extra: broadcast::channel(16).0,
        })
    }

    fn set_lost(&self, lost: bool) {
        self.lost.store(lost, Ordering::SeqCst);
        self.extra.send(Change::Unknown).unwrap();
    }

    fn ask(&self) -> Result<(), RegistryError> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(RegistryError::Unavailable {
                detail: "lost".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Registry for Faulty {
    async fn load(&self, tenant: &TenantId) -> Result<Holdings, RegistryError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.ask()?;
        self.real.load(tenant).await
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<TenantRecord, RegistryError> {
        self.real.tenant(tenant).await
    }

    async fn set_tenant(
        &self,
        tenant: &TenantId,
        settings: &TenantSettings,
        expected: u64,
        actor: &str,
    ) -> Result<TenantRecord, RegistryError> {
        self.real.set_tenant(tenant, settings, expected, actor).await
    }

    async fn get(&self, tenant: &TenantId, name: &ToolName) -> Result<Option<ToolRecord>, RegistryError> {
        self.real.get(tenant, name).await
    }

    async fn history(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, RegistryError> {
        self.real.history(tenant, name, before, limit).await
    }

    async fn revision(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        revision: Revision,
    ) -> Result<Option<ToolRecord>, RegistryError> {
        self.real.revision(tenant, name, revision).await
    }

    async fn create(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        max_tools: usize,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        self.real.create(tenant, spec, max_tools, actor).await
    }

    async fn update(
        &self,
        tenant: &TenantId,
        spec: &ToolSpec,
        expected: Revision,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        self.real.update(tenant, spec, expected, actor).await
    }

    async fn delete(
        &self,
        tenant: &TenantId,
        name: &ToolName,
        expected: Option<Revision>,
        actor: &str,
    ) -> Result<ToolRecord, RegistryError> {
        self.real.delete(tenant, name, expected, actor).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.extra.subscribe()
    }

    async fn check(&self) -> Result<(), RegistryError> {
        self.ask()
    }

    async fn close(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_visible_after_a_refresh() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let cache = ToolCache::new(registry.clone(), defaults(), &store.lifecycle);
        let acme = tenant("acme");
        assert!(cache.tools(&acme).await.unwrap().all().next().is_none());
        for number in 0..20 {
            let tool = format!("tool-{number}");
            registry.create(&acme, &spec(&tool), 100, "ann").await.unwrap();
            assert!(
                cache
                    .refresh(&acme)
                    .await
                    .unwrap()
                    .tools
                    .contains_key(&name(&tool))
            );
            assert!(cache.tools(&acme).await.unwrap().callable(&name(&tool)).is_some());
        }
    })
    .await;
}

async fn listing_changes(store: Arc<Store>) {
    let (one, other) = (store.replica().await, store.replica().await);
    let cache = ToolCache::new(other, defaults(), &store.lifecycle);
    let acme = tenant("acme");
    cache.tools(&acme).await.unwrap();
    let mut changed = cache.subscribe();
    let next = async |changed: &mut broadcast::Receiver<TenantId>| {
        timeout(Duration::from_secs(10), changed.recv())
            .await
            .expect("a change is told")
            .unwrap()
    };

    one.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
    assert_eq!(next(&mut changed).await, acme);
    // Whoever is told lists the new state.
    assert_eq!(cache.tools(&acme).await.unwrap().listed().count(), 1);

    // New code is called, but looks the same in a list.
    let recoded = ToolSpec {
        code: "return 2".to_owned(),
        ..spec("hello")
    };
    one.update(&acme, &recoded, 1, "ann").await.unwrap();
    eventually("the new revision is served", async || {
        let tools = cache.tools(&acme).await.unwrap();
        (tools.get(&name("hello")).unwrap().record.revision == 2).then_some(())
    })
    .await;
    let disabled = ToolSpec {
        enabled: false,
        ..recoded
    };
    one.update(&acme, &disabled, 2, "ann").await.unwrap();
    assert_eq!(next(&mut changed).await, acme);
    let tools = cache.tools(&acme).await.unwrap();
    assert_eq!(
        (
            tools.get(&name("hello")).unwrap().record.revision,
            tools.listed().count()
        ),
        (3, 0)
    );
    assert!(tools.callable(&name("hello")).is_none());
    assert!(changed.try_recv().is_err(), "one change, told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_changes_are_told_after_they_are_served_sqlite() {
    with_sqlite(listing_changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_changes_are_told_after_they_are_served_postgres() {
    with_postgres(listing_changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_tools_are_served_while_the_store_is_lost_and_caught_up_after() {
    with_sqlite(async |store: Arc<Store>| {
        let faulty = Faulty::new(store.replica().await);
        let cache = ToolCache::new(faulty.clone(), defaults(), &store.lifecycle);
        let acme = tenant("acme");
        faulty
            .real
            .create(&acme, &spec("hello"), 10, "ann")
            .await
            .unwrap();
        cache.tools(&acme).await.unwrap();
        let mut stale = cache.stale();
        assert_eq!(*stale.borrow_and_update(), None);

        faulty.set_lost(true);
        let why = timeout(Duration::from_secs(5), stale.wait_for(Option::is_some))
            .await
            .unwrap()
            .unwrap()
            .clone();
        assert_eq!(why.as_deref(), Some("lost"));
        assert_eq!(cache.tools(&acme).await.unwrap().all().count(), 1);
        assert!(cache.refresh(&acme).await.is_err());
        assert_eq!(cache.tools(&acme).await.unwrap().all().count(), 1);
        assert!(cache.tools(&tenant("unknown")).await.is_err());

        faulty
            .real
            .create(&acme, &spec("other"), 10, "ann")
            .await
            .unwrap();
        faulty.lost.store(false, Ordering::SeqCst);
        timeout(Duration::from_secs(5), stale.wait_for(Option::is_none))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(cache.tools(&acme).await.unwrap().all().count(), 2);
        assert!(cache.tools(&tenant("unknown")).await.is_ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_share_one_load_and_its_failure() {
    with_sqlite(async |store: Arc<Store>| {
        let faulty = Faulty::new(store.replica().await);
        let cache = ToolCache::new(faulty.clone(), defaults(), &store.lifecycle);
        let acme = tenant("acme");
        faulty.lost.store(true, Ordering::SeqCst);
        let failed = join_all((0..50).map(|_| cache.tools(&acme))).await;
        assert!(failed.iter().all(Result::is_err));
        assert_eq!(faulty.loads.swap(0, Ordering::SeqCst), 1);

        faulty.lost.store(false, Ordering::SeqCst);
        let loaded = join_all((0..50).map(|_| cache.tools(&acme))).await;
        assert!(loaded.iter().all(Result::is_ok));
        // Of those that came right after the failure, each asks for a new load, which the first of them serves.
        assert!(faulty.loads.swap(0, Ordering::SeqCst) <= 2);
        cache.tools(&acme).await.unwrap();
        assert_eq!(faulty.loads.load(Ordering::SeqCst), 0);

        let refreshed = join_all((0..50).map(|_| cache.refresh(&acme))).await;
        assert!(refreshed.iter().all(Result::is_ok));
        assert!(faulty.loads.load(Ordering::SeqCst) <= 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_look_finds_what_another_replica_made_and_names_that_nobody_made_cost_few_loads() {
    with_sqlite(async |store: Arc<Store>| {
        let faulty = Faulty::new(store.replica().await);
        let cache = ToolCache::new(faulty.clone(), defaults(), &store.lifecycle);
        let acme = tenant("acme");
        cache.tools(&acme).await.unwrap();
        // Of this write nothing tells the cache.
        faulty
            .real
            .create(&acme, &spec("made-elsewhere"), 100, "ann")
            .await
            .unwrap();
        let found = cache.look_again(&acme).await.expect("a first look");
        assert!(found.callable(&name("made-elsewhere")).is_some());

        faulty.loads.store(0, Ordering::SeqCst);
        join_all((0..50).map(|_| cache.look_again(&acme))).await;
        assert!(faulty.loads.load(Ordering::SeqCst) <= 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_change_is_not_compiled_again() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let cache = ToolCache::new(registry.clone(), defaults(), &store.lifecycle);
        let acme = tenant("acme");
        registry.create(&acme, &spec("hello"), 10, "ann").await.unwrap();
        let before = cache.refresh(&acme).await.unwrap();
        registry.create(&acme, &spec("other"), 10, "ann").await.unwrap();
        let after = cache.refresh(&acme).await.unwrap();
        assert!(Arc::ptr_eq(
            &before.tools[&name("hello")],
            &after.tools[&name("hello")]
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_tenant_that_is_not_held_is_still_told() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let cache = ToolCache::new(registry.clone(), defaults(), &store.lifecycle);
        let mut changed = cache.subscribe();
        registry
            .create(&tenant("acme"), &spec("hello"), 10, "ann")
            .await
            .unwrap();
        let told = timeout(Duration::from_secs(5), changed.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(told, tenant("acme"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shared_is_seen_by_every_tenant_that_has_no_tool_of_that_name() {
    with_sqlite(async |store: Arc<Store>| {
        let registry = store.replica().await;
        let cache = ToolCache::new(registry.clone(), defaults(), &store.lifecycle);
        let (acme, rival, shared) = (tenant("acme"), tenant("rival"), TenantId::shared());
        registry.create(&acme, &spec("both"), 10, "ann").await.unwrap();
        assert_eq!(cache.tools(&rival).await.unwrap().listed().count(), 0);
        let mut changed = cache.subscribe();
        for name in ["alone", "both", "zeta"] {
            registry.create(&shared, &spec(name), 10, "op").await.unwrap();
        }
        cache.refresh(&shared).await.unwrap();
        assert_eq!(changed.recv().await.unwrap(), shared);

        let of = async |owner: &TenantId| {
            let tools = cache.tools(owner).await.unwrap();
            let shown = |tool: &Arc<Tool>| (tool.record.spec.name.to_string(), tool.visibility);
            tools.listed().map(shown).collect::<Vec<_>>()
        };
        let all = |both| {
            let names = [
                ("alone", Visibility::Shared),
                ("both", both),
                ("zeta", Visibility::Shared),
            ];
            names
                .map(|(name, visibility)| (name.to_owned(), visibility))
                .to_vec()
        };
        assert_eq!(of(&acme).await, all(Visibility::Tenant));
        assert_eq!(of(&rival).await, all(Visibility::Shared));
        let disabled = ToolSpec {
            enabled: false,
            ..spec("both")
        };
        registry.update(&acme, &disabled, 1, "ann").await.unwrap();
        cache.refresh(&acme).await.unwrap();
        let hidden = cache.tools(&acme).await.unwrap();
        assert!(
            hidden.callable(&name("both")).is_none(),
            "its own hides it while it is off, too"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_sets_for_a_tenant_holds_here() {
    with_postgres(async |store: Arc<Store>| {
        let (one, other) = (store.replica().await, store.replica().await);
        let cache = ToolCache::new(one, defaults(), &store.lifecycle);
        let acme = tenant("acme");
        assert_eq!(cache.tools(&acme).await.unwrap().tenant().limits, limits());
        let settings = TenantSettings {
            max_concurrency: Some(1),
            ..TenantSettings::default()
        };
        other.set_tenant(&acme, &settings, 0, "op").await.unwrap();
        let hold = TenantLimits {
            max_concurrency: 1,
            ..limits()
        };
        eventually("what was set holds", async || {
            let tools = cache.tools(&acme).await.unwrap();
            (tools.tenant().limits == hold).then_some(())
        })
        .await;
    })
    .await;
}
