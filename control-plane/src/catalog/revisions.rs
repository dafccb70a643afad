//! The use cases of what a tool was: its history, what changed between two revisions, and the way back.

use serde_json::{Map, json};

use super::{Catalog, CatalogError, Stored, Written, draft, revision_details};
use crate::principal::Caller;
use crate::registry::{Past, RegistryError, Revision, ToolName};

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
    ) -> Result<Vec<Past>, CatalogError> {
        self.may_manage(caller, admin_token)?;
        let name: ToolName = name.parse()?;
        let tenant = &caller.principal.tenant;
        let past = self.registry.history(tenant, &name, before, limit).await?;
        if past.is_empty() && before.is_none() {
            return Err(RegistryError::NotFound(name).into());
        }
        Ok(past)
    }

    /// # Errors
    /// As for [`Self::history`], and when there is no such revision.
    pub async fn revision(
        &self,
        caller: &Caller,
        admin_token: Option<&str>,
        name: &str,
        revision: Revision,
    ) -> Result<Past, CatalogError> {
        self.may_manage(caller, admin_token)?;
        let name: ToolName = name.parse()?;
        self.past(caller, &name, revision).await
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
            let (tenant, actor) = (&caller.principal.tenant, &caller.principal.subject);
            let spec = self.past(caller, &name, to).await?.record.spec;
            draft::check(&spec, &self.policy)?;
            let record = match (self.registry.get(tenant, &name).await?, expected) {
                (Some(current), expected) => {
                    let expected = expected.unwrap_or(current.revision);
                    self.registry.update(tenant, &spec, expected, actor).await?
                }
                (None, None) => {
                    let most = self.config.max_tools;
                    self.registry.create(tenant, &spec, most, actor).await?
                }
                (None, Some(_)) => return Err(RegistryError::NotFound(name).into()),
            };
            Ok(Stored { record, chosen: None })
        };
        let stored = self
            .audited(caller, admin_token, "dynamic.tool.rollback", name, details, write)
            .await?;
        self.published(caller, stored).await
    }

    async fn past(&self, caller: &Caller, name: &ToolName, revision: Revision) -> Result<Past, CatalogError> {
        let before = revision.checked_add(1);
        let tenant = &caller.principal.tenant;
        let found = self.registry.history(tenant, name, before, 1).await?;
        let exact = found.into_iter().find(|past| past.record.revision == revision);
        exact.ok_or_else(|| CatalogError::NoRevision {
            name: name.clone(),
            revision,
        })
    }
}
