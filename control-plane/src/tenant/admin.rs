//! The use cases of `system.tenant.*`: what an operator sees and sets of a tenant. An audit entry is opened before each
//! write and closed after it.

use std::sync::Arc;

use dynamic_mcp_shared::ids::TenantId;
use serde_json::{Map, json};

use super::{InvalidSettings, SettingsPatch, Tenant, TenantRecord};
use crate::audit::{Action, Audit, Unaudited, Verdict};
use crate::auth::{AdminGate, Forbidden};
use crate::principal::{Caller, Right};
use crate::registry::cache::ToolCache;
use crate::registry::{Registry, RegistryError};

/// How often a write without an expected revision is tried again when another one came first.
const MAX_ATTEMPTS: usize = 5;

pub struct Tenants {
    pub registry: Arc<dyn Registry>,
    pub cache: Arc<ToolCache>,
    pub audit: Audit,
    pub admin: AdminGate,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum TenantsError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Invalid(#[from] InvalidSettings),
    #[error("tenant must have 1 to 128 letters, digits, '-', '_', '.', ':', '@', '|', '/', got {0:?}")]
    NoTenant(String),
    #[error(transparent)]
    Unaudited(#[from] Unaudited),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl TenantsError {
    pub const fn kind(&self) -> &'static str {
        match self {
            TenantsError::Forbidden(_) => "forbidden",
            TenantsError::Invalid(_) | TenantsError::NoTenant(_) => "invalid",
            TenantsError::Unaudited(_) => "unavailable",
            TenantsError::Registry(error) => error.kind(),
        }
    }
}

/// Which tenant an operator means. Without a name it is its own.
pub struct About<'a> {
    pub caller: &'a Caller,
    pub admin_token: Option<String>,
    pub tenant: Option<String>,
}

/// A tenant as an operator sees it.
#[derive(Debug)]
pub struct Shown {
    pub id: TenantId,
    pub tenant: Tenant,
    /// One for which nothing is set.
    pub defaults: Tenant,
    /// `None`: they can't be counted now.
    pub tools: Option<usize>,
}

impl Tenants {
    /// # Errors
    /// When the caller may not, that is no tenant's name, or the store does not answer.
    pub async fn get(&self, about: &About<'_>) -> Result<Shown, TenantsError> {
        self.may(about)?;
        let id = about.id()?;
        self.shown(id).await
    }

    /// # Errors
    /// As for [`Self::get`], when the settings are not valid, or they are not at the expected revision.
    pub async fn set(
        &self,
        about: &About<'_>,
        patch: &SettingsPatch,
        expected: Option<u64>,
    ) -> Result<Shown, TenantsError> {
        let target = about.target();
        let action = Action {
            name: "system.tenant.set",
            target: Some(&target),
            revision: None,
            details: Map::from_iter([("settings".to_owned(), json!(patch))]),
        };
        let entry = self.audit.begin(about.caller, action).await?;
        let result = self.set_now(about, patch, expected).await;
        entry.close(match &result {
            Ok(_) => Verdict::Done,
            Err(error @ TenantsError::Forbidden(_)) => Verdict::Refused(error.kind()),
            Err(error) => Verdict::Failed(error.kind()),
        });
        result
    }

    async fn set_now(
        &self,
        about: &About<'_>,
        patch: &SettingsPatch,
        expected: Option<u64>,
    ) -> Result<Shown, TenantsError> {
        self.may(about)?;
        let id = about.id()?;
        let mut attempt = 1;
        let record = loop {
            let was = self.registry.tenant(&id).await?;
            let settings = patch.apply(&was.settings)?;
            let expected_now = expected.unwrap_or(was.revision);
            let actor = &about.caller.principal.subject;
            let written = self
                .registry
                .set_tenant(&id, &settings, expected_now, actor)
                .await;
            match written {
                Err(RegistryError::SettingsConflict { .. })
                    if expected.is_none() && attempt < MAX_ATTEMPTS =>
                {
                    attempt += 1;
                }
                written => break written?,
            }
        };
        // The write is done: if the cache can't follow now, it will when the store answers again.
        if let Err(error) = self.cache.refresh(&id).await {
            tracing::warn!(%error, "a tenant's settings do not hold on this replica yet");
        }
        let tools = self.cache.tools(&id).await;
        let tools = tools.ok().map(|tools| tools.own().tools.len());
        Ok(self.with(id, Tenant::new(record, self.cache.defaults()), tools))
    }

    /// Read anew: what another replica wrote a moment ago is in it.
    async fn shown(&self, id: TenantId) -> Result<Shown, TenantsError> {
        let tools = self.cache.refresh(&id).await?;
        Ok(self.with(id, tools.tenant().clone(), Some(tools.tools.len())))
    }

    fn with(&self, id: TenantId, tenant: Tenant, tools: Option<usize>) -> Shown {
        Shown {
            id,
            tenant,
            defaults: Tenant::new(TenantRecord::default(), self.cache.defaults()),
            tools,
        }
    }

    fn may(&self, about: &About<'_>) -> Result<(), TenantsError> {
        if !about.caller.rights.has(Right::Admin) {
            return Err(Forbidden("what tenants may have is for operators").into());
        }
        Ok(self.admin.check(about.admin_token.as_deref())?)
    }
}

impl About<'_> {
    fn id(&self) -> Result<TenantId, TenantsError> {
        match &self.tenant {
            None => Ok(self.caller.principal.tenant.clone()),
            Some(name) => name
                .parse()
                .map_err(|_| TenantsError::NoTenant(name.chars().take(80).collect())),
        }
    }

    fn target(&self) -> String {
        let name = self.tenant.as_deref();
        let name = name.unwrap_or(self.caller.principal.tenant.as_str());
        name.chars().take(128).collect()
    }
}
