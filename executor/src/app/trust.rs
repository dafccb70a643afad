//! The executor's certificate: who it is, and how it stands with it.

use std::sync::Arc;

use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::tls::{Identity, Role, TlsError, TlsFiles, Trust};

use crate::metric_names;

pub(super) fn open(files: TlsFiles) -> Result<Arc<Trust>, TlsError> {
    Trust::open(files, Role::Executor, Arc::new(SystemClock))
}

pub(super) fn executor_id(trust: &Trust) -> Option<&ExecutorId> {
    match trust.identity() {
        Identity::Executor(id) => Some(id),
        Identity::ControlPlane => None,
    }
}

pub(super) fn keep_current(trust: &Arc<Trust>, lifecycle: &Lifecycle) {
    trust.keep_current(lifecycle, |condition| {
        let expires_at = condition.expires_at.timestamp();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        metrics::gauge!(metric_names::CERTIFICATE_EXPIRES_AT).set(expires_at as f64);
    });
}
