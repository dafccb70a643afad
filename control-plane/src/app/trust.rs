//! The control plane's certificate, and how it stands with it: in the metrics, and in `/readyz` when it is of no use.

use std::sync::Arc;

use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use dynamic_mcp_shared::tls::{Role, TlsError, TlsFiles, Trust};

use crate::metric_names;

const PART: &str = "certificates";

pub(super) fn open(
    files: TlsFiles,
    readiness: &Readiness,
    lifecycle: &Lifecycle,
) -> Result<Arc<Trust>, TlsError> {
    let trust = Trust::open(files, Role::ControlPlane, Arc::new(SystemClock))?;
    let readiness = readiness.clone();
    trust.keep_current(lifecycle, move |condition| {
        let expires_at = condition.expires_at.timestamp();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        metrics::gauge!(metric_names::CERTIFICATE_EXPIRES_AT).set(expires_at as f64);
        match &condition.trouble {
            Some(why) => readiness.degrade(PART, why),
            None => readiness.restore(PART),
        };
    });
    Ok(trust)
}
