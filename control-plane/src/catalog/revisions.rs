//! The use cases of what a tool was: its history, what it was at a revision, and the way back.

use dynamic_mcp_shared::job::Runtime;
use serde_json::{Map, json};

use super::{Catalog, CatalogError, Manager, Stored, Written, draft, revision_details, starts_over};
use crate::registry::{History, RegistryError, Revision, ToolName, ToolRecord};

impl Catalog {
    /// The revisions of a name below `before`, the newest first, those of a deleted tool too.
    ///
    /// # Errors
    /// When the caller may not, there never was such a tool, or the store does not answer.
    pub async fn history(
        &self,
        manager: &Manager<'_>,
        name: &str,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, CatalogError> {
        self.may_manage(manager)?;
        let name: ToolName = name.parse()?;
        let history = self
            .deps
            .registry
            .history(&manager.owner(), &name, before, limit)
            .await?;
        let never = history.revisions.is_empty() && history.next_before.is_none() && before.is_none();
        if never {
            return Err(RegistryError::NotFound(name).into());
        }
        Ok(history)
    }

    /// # Errors
    /// As for [`Self::history`], and when there is no such revision.
    pub async fn revision(
        &self,
        manager: &Manager<'_>,
        name: &str,
        revision: Revision,
    ) -> Result<ToolRecord, CatalogError> {
        self.may_manage(manager)?;
        self.at_revision(manager, &name.parse()?, revision).await
    }

    /// Writes what the tool was at that revision as a new one. A tool that was deleted is there again.
    ///
    /// # Errors
    /// When the caller may not, there is no such revision, what it was is not allowed any more, or the tool is not at the
    /// expected revision.
    pub async fn rollback(
        &self,
        manager: &Manager<'_>,
        name: &str,
        to: Revision,
        expected: Option<Revision>,
    ) -> Result<Written, CatalogError> {
        let mut details: Map<_, _> = revision_details(expected);
        details.insert("to".to_owned(), json!(to));
        let write = async {
            let name: ToolName = name.parse()?;
            let mut attempt = 1;
            loop {
                let ended = self.rollback_once(manager, &name, to, expected).await;
                if !starts_over(&ended, expected, attempt) {
                    return ended;
                }
                attempt += 1;
            }
        };
        let stored = self
            .audited(manager, "dynamic.tool.rollback", name, details, write)
            .await?;
        self.published(manager, stored).await
    }

    async fn rollback_once(
        &self,
        manager: &Manager<'_>,
        name: &ToolName,
        to: Revision,
        expected: Option<Revision>,
    ) -> Result<Stored, CatalogError> {
        let owner = manager.owner();
        let registry = &self.deps.registry;
        let mut spec = self.at_revision(manager, name, to).await?.spec;
        let policy = self.policy(manager).await?;
        if spec.runs_on != Runtime::Node {
            // It has whatever image was the default then, and uses none.
            spec.image = policy.default_image().to_owned();
        }
        draft::check(&spec, &policy)?;
        draft::check_settled(&spec, &policy)?;
        let record = match (registry.get(&owner, name).await?, expected) {
            (Some(current), expected) => {
                let expected = expected.unwrap_or(current.revision);
                registry.update(&owner, &spec, expected, manager.actor()).await?
            }
            (None, None) => self.add(manager, &spec).await?,
            (None, Some(_)) => return Err(RegistryError::NotFound(name.clone()).into()),
        };
        Ok(Stored { record, chosen: None })
    }

    async fn at_revision(
        &self,
        manager: &Manager<'_>,
        name: &ToolName,
        revision: Revision,
    ) -> Result<ToolRecord, CatalogError> {
        let found = self
            .deps
            .registry
            .revision(&manager.owner(), name, revision)
            .await?;
        found.ok_or_else(|| CatalogError::NoRevision {
            name: name.clone(),
            revision,
        })
    }
}
