//! A dependency lock that can be asked at each call whether it is still allowed: it is read once, and judged once for
//! each policy.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dynamic_mcp_shared::packages::{LockedPackage, UnreadableLock};
use dynamic_mcp_shared::policy::{NarrowedPolicy, PolicyError};
use parking_lot::Mutex;

/// Cheap to clone; all clones are the same lock.
#[derive(Clone)]
pub struct Lock(Arc<Judged>);

struct Judged {
    bytes: Bytes,
    packages: OnceLock<Result<Vec<LockedPackage>, UnreadableLock>>,
    /// The last policy that was asked, and what it said: most locks are of one tenant, which has one policy.
    last: Mutex<Option<(Arc<NarrowedPolicy>, Verdict)>>,
}

type Verdict = Result<(), PolicyError>;

impl Lock {
    pub fn new(bytes: Bytes) -> Self {
        Self(Arc::new(Judged {
            bytes,
            packages: OnceLock::new(),
            last: Mutex::default(),
        }))
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// # Errors
    /// When the policy does not allow one of its packages, or it can't be read.
    pub fn check(&self, policy: &Arc<NarrowedPolicy>) -> Verdict {
        let mut last = self.0.last.lock();
        if let Some((asked, verdict)) = &*last
            && asked == policy
        {
            return verdict.clone();
        }
        let verdict = self.judge(policy);
        *last = Some((policy.clone(), verdict.clone()));
        verdict
    }

    fn judge(&self, policy: &NarrowedPolicy) -> Verdict {
        let read = || LockedPackage::read_all(&self.0.bytes);
        match self.0.packages.get_or_init(read) {
            Ok(packages) => policy.check_lock(packages),
            Err(unreadable) => Err((*unreadable).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::policy::{SandboxPolicy, TenantPolicy};
    use serde_json::{Value, json};

    use super::*;

    fn policy(tenant: Value) -> Arc<NarrowedPolicy> {
        let tenant: TenantPolicy = serde_json::from_value(tenant).unwrap();
        Arc::new(NarrowedPolicy::new(Arc::new(SandboxPolicy::default()), tenant))
    }

    fn lock() -> Lock {
        let lock = json!({"packages": {"": {}, "node_modules/a/node_modules/b": {"version": "1.2.3"}}});
        Lock::new(lock.to_string().into())
    }

    #[test]
    fn a_policy_that_becomes_stricter_is_asked_anew_and_one_that_becomes_looser_too() {
        let lock = lock();
        let (open, strict) = (policy(json!({})), policy(json!({"blockedPackages": ["b@<2"]})));
        for _ in 0..2 {
            assert_eq!(lock.check(&open), Ok(()));
            assert_eq!(lock.check(&open), Ok(()));
            for _ in 0..2 {
                let error = lock.check(&strict).unwrap_err().to_string();
                assert!(error.contains("b@1.2.3"), "{error}");
            }
        }
    }

    #[test]
    fn a_lock_that_can_not_be_read_is_not_allowed() {
        let lock = Lock::new(Bytes::from_static(b"{}"));
        let error = lock.check(&policy(json!({}))).unwrap_err();
        assert!(matches!(error, PolicyError::Lock(_)), "{error}");
    }
}
