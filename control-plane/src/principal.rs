//! Who asks, and for whom. Everything below the edges takes one of these and never looks at a token.

use std::sync::Arc;

use dynamic_mcp_shared::ids::TenantId;
use tokio_util::sync::CancellationToken;

/// Without auth it is the tenant `default` with every scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub subject: String,
    pub client: String,
}

impl Principal {
    pub fn anonymous() -> Self {
        Self {
            tenant: TenantId::default(),
            subject: "anonymous".to_owned(),
            client: "anonymous".to_owned(),
        }
    }
}

/// One request of a principal: what its audit entries carry, and how it is told to stop.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Arc<Principal>,
    /// The `x-request-id` of the HTTP request; for stdio one made here.
    pub request_id: String,
    /// Cancelled when the client gave the request up.
    pub cancel: CancellationToken,
}
