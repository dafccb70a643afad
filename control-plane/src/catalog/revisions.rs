//! The use cases of what a tool was: its history, what it was at a revision, and the way back.

use dynamic_mcp_shared::job::Runtime;
use serde_json::{Map, json};

use super::{Catalog, CatalogError, Stored, Written, draft, revision_details, starts_over};
use crate::principal::Caller;
use crate::registry::{History, RegistryError, Revision, ToolName, ToolRecord};

impl Catalog {
    /// The revisions of a name below `before`, the newest first, those of a deleted tool too.
    ///
    /// # Errors
    /// When the caller may not, there never was such a tool, or the store does not answer.
    pub async fn history(
        &self,
        caller: &Caller,
        admin_token: Option<&str>,
        name: &str,
        before: Option<Revision>,
        limit: u32,
    ) -> Result<History, CatalogError> {
        self.may_manage(caller, admin_token)?;
        let name: ToolName = name.parse()?;
        let tenant = &caller.principal.tenant;
        let history = self.deps.registry.history(tenant, &name, before, limit).await?;
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
        caller: &Caller,
        admin_token: Option<&str>,
        name: &str,
        revision: Revision,
    ) -> Result<ToolRecord, CatalogError> {
        self.may_manage(caller, admin_token)?;
        self.at_revision(caller, &name.parse()?, revision).await
    }

    /// Writes what the tool was at that revision as a new one. A tool that was deleted is there again.
    ///
    /// # Errors
    /// When the caller may not, there is no such revision, what it was is not allowed any more, or the tool is not at the
    /// expected revision.
    pub async fn rollback(
        &self,
        caller: &Caller,
        admin_token: Option<&str>,
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
                let ended = self.rollback_once(caller, &name, to, expected).await;
                if !starts_over(&ended, expected, attempt) {
                    return ended;
                }
                attempt += 1;
            }
        };
        let stored = self
            .audited(caller, admin_token, "dynamic.tool.rollback", name, details, write)
            .await?;
        self.published(caller, stored).await
    }

    async fn rollback_once(
        &self,
        caller: &Caller,
        name: &ToolName,
        to: Revision,
        expected: Option<Revision>,
    ) -> Result<Stored, CatalogError> {
        let (tenant, actor) = (&caller.principal.tenant, &caller.principal.subject);
        let registry = &self.deps.registry;
        let mut spec = self.at_revision(caller, name, to).await?.spec;
        if spec.runs_on != Runtime::Node {
            // It has whatever image was the default then, and uses none.
            spec.image = self.deps.policy.default_image().to_owned();
        }
        draft::check(&spec, &self.deps.policy)?;
        let record = match (registry.get(tenant, name).await?, expected) {
            (Some(current), expected) => {
                let expected = expected.unwrap_or(current.revision);
                registry.update(tenant, &spec, expected, actor).await?
            }
            (None, None) => {
                registry
                    .create(tenant, &spec, self.config.max_tools, actor)
                    .await?
            }
            (None, Some(_)) => return Err(RegistryError::NotFound(name.clone()).into()),
        };
        Ok(Stored { record, chosen: None })
    }

    async fn at_revision(
        &self,
        caller: &Caller,
        name: &ToolName,
        revision: Revision,
    ) -> Result<ToolRecord, CatalogError> {
        let tenant = &caller.principal.tenant;
        let found = self.deps.registry.revision(tenant, name, revision).await?;
        found.ok_or_else(|| CatalogError::NoRevision {
            name: name.clone(),
            revision,
        })
    }
}
