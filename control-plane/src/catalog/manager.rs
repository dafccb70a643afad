//! Who manages tools, and whose.

use dynamic_mcp_shared::ids::TenantId;

use crate::principal::Caller;
use crate::registry::cache::Visibility;

pub struct Manager<'a> {
    pub caller: &'a Caller,
    pub admin_token: Option<String>,
    /// Those of its own tenant, or those that all tenants see.
    pub of: Visibility,
}

impl Manager<'_> {
    pub(super) fn owner(&self) -> TenantId {
        match self.of {
            Visibility::Tenant => self.caller.principal.tenant.clone(),
            Visibility::Shared => TenantId::shared(),
        }
    }

    pub(super) fn actor(&self) -> &str {
        &self.caller.principal.subject
    }
}
