//! The use cases of `dynamic.tool.*`: who may write, what a tool may be, and the lock its dependencies resolve to. One
//! audit entry is opened before each write and closed after it.

mod draft;
mod error;
mod examples;
mod manager;
mod reserved;
mod revisions;

use std::sync::Arc;

use dynamic_mcp_shared::policy::NarrowedPolicy;
use serde_json::{Map, Value, json};

pub use self::draft::{ToolDraft, ToolPatch};
pub use self::error::CatalogError;
pub use self::manager::Manager;
use crate::audit::{Action, Audit, Verdict};
use crate::auth::{AdminGate, Forbidden};
use crate::jobs::Jobs;
use crate::principal::{Caller, Right};
use crate::registry::cache::{TenantTools, Tool, ToolCache, Visibility};
use crate::registry::{Registry, RegistryError, Revision, RuntimeChoice, ToolName, ToolRecord, ToolSpec};
use crate::runtimes::{Chosen, Names, Runtimes};
use crate::scheduler::Scheduler;
use crate::scheduler::client::ResolveError;

/// How often a write without an expected revision is tried again when another one came first.
const MAX_WRITE_ATTEMPTS: usize = 5;

pub struct CatalogConfig {
    pub read_only: bool,
    pub admin: AdminGate,
    /// Names that tools may not have: those of the built-in ones.
    pub reserved: &'static [&'static str],
}

/// What it works with.
pub struct CatalogDeps {
    pub registry: Arc<dyn Registry>,
    pub cache: Arc<ToolCache>,
    pub scheduler: Arc<Scheduler>,
    pub runtimes: Arc<Runtimes>,
    /// For the examples of tools.
    pub jobs: Arc<Jobs>,
    pub audit: Audit,
}

pub struct Catalog {
    deps: CatalogDeps,
    config: CatalogConfig,
}

/// A write that was done.
pub struct Written {
    /// The tool as this replica serves it from now on.
    pub tool: Arc<Tool>,
    /// What it runs on and why, where the write decided that.
    pub chosen: Option<Chosen>,
}

struct Stored {
    record: ToolRecord,
    chosen: Option<Chosen>,
}

impl Catalog {
    pub fn new(deps: CatalogDeps, config: CatalogConfig) -> Self {
        Self { deps, config }
    }

    /// # Errors
    /// When the caller may not, the tool is not valid, its name is taken, or there are too many.
    pub async fn create(&self, manager: &Manager<'_>, draft: ToolDraft) -> Result<Written, CatalogError> {
        let target = draft.name.clone();
        let write = async {
            let policy = self.policy(manager).await?;
            let (given, names) = (draft.runtime, draft.names());
            let mut spec = draft.into_spec(&policy, self.config.reserved)?;
            self.require_free(manager, &spec.name).await?;
            let chosen = self.choose(given, names, &mut spec).await?;
            self.lock_dependencies(manager.caller, &mut spec).await?;
            draft::check_settled(&spec, &policy)?;
            self.try_examples(manager, &spec).await?;
            let record = self.add(manager, &spec).await?;
            Ok(Stored {
                record,
                chosen: Some(chosen),
            })
        };
        let stored = self
            .audited(manager, "dynamic.tool.create", &target, Map::new(), write)
            .await?;
        self.published(manager, stored).await
    }

    /// # Errors
    /// As for [`Self::create`], and when the tool is not at the expected revision.
    pub async fn update(
        &self,
        manager: &Manager<'_>,
        name: &str,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<Written, CatalogError> {
        self.change(manager, "dynamic.tool.update", name, patch, expected)
            .await
    }

    /// # Errors
    /// As for [`Self::update`].
    pub async fn set_enabled(
        &self,
        manager: &Manager<'_>,
        name: &str,
        enabled: bool,
        expected: Option<Revision>,
    ) -> Result<Written, CatalogError> {
        let patch = ToolPatch {
            enabled: Some(enabled),
            ..ToolPatch::default()
        };
        self.change(manager, "dynamic.tool.enable", name, patch, expected)
            .await
    }

    /// Answers what was deleted.
    ///
    /// # Errors
    /// When the caller may not, there is no such tool, or it is not at the expected revision.
    pub async fn delete(
        &self,
        manager: &Manager<'_>,
        name: &str,
        expected: Option<Revision>,
    ) -> Result<Arc<ToolRecord>, CatalogError> {
        let write = async {
            let name: ToolName = name.parse()?;
            let record = self
                .deps
                .registry
                .delete(&manager.owner(), &name, expected, manager.actor())
                .await?;
            Ok(Stored { record, chosen: None })
        };
        let details = revision_details(expected);
        let stored = self
            .audited(manager, "dynamic.tool.delete", name, details, write)
            .await?;
        self.refresh(manager).await;
        Ok(Arc::new(stored.record))
    }

    /// All tools that the tenant sees, disabled ones too.
    ///
    /// # Errors
    /// When the caller may not, or nothing has been loaded yet and the store does not answer.
    pub async fn list(&self, manager: &Manager<'_>) -> Result<TenantTools, CatalogError> {
        self.may_manage(manager)?;
        Ok(self.deps.cache.tools(&manager.owner()).await?)
    }

    /// # Errors
    /// As for [`Self::list`], and when there is no such tool.
    pub async fn get(&self, manager: &Manager<'_>, name: &str) -> Result<Arc<Tool>, CatalogError> {
        let tools = self.list(manager).await?;
        let name: ToolName = name.parse()?;
        tools
            .get(&name)
            .cloned()
            .ok_or_else(|| RegistryError::NotFound(name).into())
    }

    /// Reads, patches and writes.
    async fn change(
        &self,
        manager: &Manager<'_>,
        action: &'static str,
        name: &str,
        patch: ToolPatch,
        expected: Option<Revision>,
    ) -> Result<Written, CatalogError> {
        let mut details = revision_details(expected);
        details.insert("fields".to_owned(), json!(patch.fields()));
        let write = async {
            let name: ToolName = name.parse()?;
            let mut attempt = 1;
            loop {
                let ended = self.change_once(manager, &name, &patch, expected).await;
                if !starts_over(&ended, expected, attempt) {
                    return ended;
                }
                attempt += 1;
            }
        };
        let stored = self.audited(manager, action, name, details, write).await?;
        self.published(manager, stored).await
    }

    async fn change_once(
        &self,
        manager: &Manager<'_>,
        name: &ToolName,
        patch: &ToolPatch,
        expected: Option<Revision>,
    ) -> Result<Stored, CatalogError> {
        let owner = manager.owner();
        let current = self
            .deps
            .registry
            .get(&owner, name)
            .await?
            .ok_or_else(|| RegistryError::NotFound(name.clone()))?;
        let expected = expected.unwrap_or(current.revision);
        if expected != current.revision {
            let actual = current.revision;
            return Err(RegistryError::Conflict {
                name: name.clone(),
                expected,
                actual,
            }
            .into());
        }
        let before = (current.spec.dependencies.clone(), current.spec.image.clone());
        let policy = self.policy(manager).await?;
        let names = patch.names(&current.spec, &policy);
        let mut spec = patch.apply(current.spec, &policy)?;
        let mut chosen = None;
        if patch.concerns_runtime() {
            chosen = Some(self.choose(Some(spec.runtime), names, &mut spec).await?);
        }
        let lock_is_stale = before != (spec.dependencies.clone(), spec.image.clone());
        if lock_is_stale || (spec.dependency_lock.is_none() && !spec.dependencies.is_empty()) {
            self.lock_dependencies(manager.caller, &mut spec).await?;
        }
        if !patch.only_switches() {
            draft::check_settled(&spec, &policy)?;
        }
        if patch.concerns_examples() {
            self.try_examples(manager, &spec).await?;
        }
        let record = self
            .deps
            .registry
            .update(&owner, &spec, expected, manager.actor())
            .await?;
        Ok(Stored { record, chosen })
    }

    async fn policy(&self, manager: &Manager<'_>) -> Result<Arc<NarrowedPolicy>, CatalogError> {
        let tools = self.deps.cache.tools(&manager.owner()).await?;
        Ok(tools.tenant().policy.clone())
    }

    async fn choose(
        &self,
        given: Option<RuntimeChoice>,
        names: Names,
        spec: &mut ToolSpec,
    ) -> Result<Chosen, CatalogError> {
        let chosen = self.deps.runtimes.choose(given, names, &spec.code).await?;
        spec.runtime = chosen.requested;
        spec.runs_on = chosen.runs_on;
        Ok(chosen)
    }

    /// Saves the author a resolution that would be for nothing.
    async fn require_free(&self, manager: &Manager<'_>, name: &ToolName) -> Result<(), CatalogError> {
        match self.deps.registry.get(&manager.owner(), name).await? {
            Some(_) => Err(RegistryError::AlreadyExists(name.clone()).into()),
            None => Ok(()),
        }
    }

    async fn add(&self, manager: &Manager<'_>, spec: &ToolSpec) -> Result<ToolRecord, CatalogError> {
        let owner = manager.owner();
        let limits = self.deps.cache.tools(&owner).await?.tenant().limits.clone();
        let registry = &self.deps.registry;
        Ok(registry
            .create(&owner, spec, limits.max_tools as usize, manager.actor())
            .await?)
    }

    async fn lock_dependencies(&self, caller: &Caller, spec: &mut ToolSpec) -> Result<(), CatalogError> {
        spec.dependency_lock = None;
        if spec.dependencies.is_empty() {
            return Ok(());
        }
        let tenant = &caller.principal.tenant;
        let lock = tokio::select! {
            biased;
            () = caller.cancel.cancelled() => return Err(CatalogError::Cancelled),
            lock = self.deps.scheduler.resolve_dependencies(tenant, &spec.image, &spec.dependencies) => lock,
        };
        let lock = lock.map_err(|error| match error {
            ResolveError::Refused(why) => CatalogError::Dependencies(why),
            ResolveError::Unavailable(why) => CatalogError::Unavailable(why),
        })?;
        let lock = String::from_utf8(lock.into())
            .map_err(|_| CatalogError::Unavailable("the executor's lock is not UTF-8".to_owned()))?;
        spec.dependency_lock = Some(lock);
        Ok(())
    }

    async fn audited(
        &self,
        manager: &Manager<'_>,
        action: &'static str,
        target: &str,
        mut details: Map<String, Value>,
        write: impl Future<Output = Result<Stored, CatalogError>>,
    ) -> Result<Stored, CatalogError> {
        if manager.of == Visibility::Shared {
            details.insert("visibility".to_owned(), manager.of.as_str().into());
        }
        let action = Action {
            name: action,
            target: Some(target),
            revision: None,
            details,
        };
        let mut entry = self.deps.audit.begin(manager.caller, action).await?;
        let result = match self.may_write(manager) {
            Ok(()) => write.await,
            Err(refusal) => Err(refusal),
        };
        if let Ok(Stored {
            chosen: Some(chosen), ..
        }) = &result
        {
            entry.add("runtime", chosen.requested.as_str());
            entry.add("runsOn", chosen.runs_on.as_str());
        }
        entry.close(match &result {
            Ok(_) => Verdict::Done,
            Err(error @ (CatalogError::Forbidden(_) | CatalogError::ReadOnly)) => {
                Verdict::Refused(error.kind())
            }
            Err(error) => Verdict::Failed(error.kind()),
        });
        result
    }

    /// What tools are made of is shown to those who may make them.
    fn may_manage(&self, manager: &Manager<'_>) -> Result<(), CatalogError> {
        let rights = manager.caller.rights;
        if !rights.has(Right::Write) {
            return Err(Forbidden("this operation needs the right to write tools").into());
        }
        if manager.of == Visibility::Shared && !rights.has(Right::Admin) {
            return Err(Forbidden(
                "tools of all tenants (visibility \"shared\") need the right of an operator",
            )
            .into());
        }
        Ok(self.config.admin.check(manager.admin_token.as_deref())?)
    }

    fn may_write(&self, manager: &Manager<'_>) -> Result<(), CatalogError> {
        self.may_manage(manager)?;
        if self.config.read_only {
            Err(CatalogError::ReadOnly)
        } else {
            Ok(())
        }
    }

    async fn published(&self, manager: &Manager<'_>, stored: Stored) -> Result<Written, CatalogError> {
        self.refresh(manager).await;
        Ok(Written {
            tool: Arc::new(Tool::new(stored.record, manager.of)),
            chosen: stored.chosen,
        })
    }

    /// The write is done: if the cache can't follow now, it will when the store answers again.
    async fn refresh(&self, manager: &Manager<'_>) {
        if let Err(error) = self.deps.cache.refresh(&manager.owner()).await {
            tracing::warn!(%error, "a write is not visible on this replica yet");
        }
    }
}

/// Of a write that read first: whether another one came in between, and its author named no revision that forbids it.
fn starts_over(ended: &Result<Stored, CatalogError>, expected: Option<Revision>, attempt: usize) -> bool {
    let came_late = matches!(ended, Err(CatalogError::Registry(RegistryError::Conflict { .. })));
    came_late && expected.is_none() && attempt < MAX_WRITE_ATTEMPTS
}

fn revision_details(expected: Option<Revision>) -> Map<String, Value> {
    expected
        .map(|revision| ("expectedRevision".to_owned(), json!(revision)))
        .into_iter()
        .collect()
}
