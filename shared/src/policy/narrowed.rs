//! The policy that one tenant's tools are under: the deployment's first, then what the tenant's takes away from it. As
//! both must agree, a tenant's can't widen anything.

use std::sync::Arc;

use super::error::PolicyError;
use super::{SandboxPolicy, TenantPolicy};
use crate::job::{Dependency, Isolation};
use crate::limits::TimeoutMs;
use crate::packages::LockedPackage;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarrowedPolicy {
    deployment: Arc<SandboxPolicy>,
    tenant: TenantPolicy,
}

impl NarrowedPolicy {
    pub const fn new(deployment: Arc<SandboxPolicy>, tenant: TenantPolicy) -> Self {
        Self { deployment, tenant }
    }

    /// The first image that both allow; where there is none, one that [`Self::check_image`] refuses.
    pub fn default_image(&self) -> &str {
        let images = &self.deployment.allowed_images;
        let allowed = images.iter().find(|image| self.tenant.check_image(image).is_ok());
        allowed.map_or_else(|| self.deployment.default_image(), String::as_str)
    }

    pub fn max_timeout(&self) -> TimeoutMs {
        self.deployment.max_timeout.min(self.tenant.max_timeout())
    }

    pub fn max_output_bytes(&self) -> u64 {
        self.deployment.max_output_bytes
    }

    /// # Errors
    /// Whose policy refuses it, and what is allowed.
    pub fn check_image(&self, image: &str) -> Result<(), PolicyError> {
        self.deployment.check_image(image)?;
        self.tenant.check_image(image)
    }

    /// # Errors
    /// Whose policy refuses it, and what is allowed.
    pub fn check_timeout(&self, timeout: TimeoutMs) -> Result<(), PolicyError> {
        self.deployment.check_timeout(timeout)?;
        self.tenant.check_timeout(timeout)
    }

    /// # Errors
    /// Whose policy refuses it.
    pub fn check_isolation(&self, isolation: Isolation) -> Result<(), PolicyError> {
        self.deployment.check_isolation(isolation)?;
        self.tenant.check_isolation(isolation)
    }

    /// What can be said of dependencies before they are resolved.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check_dependencies(&self, dependencies: &[Dependency]) -> Result<(), PolicyError> {
        self.deployment.check_dependencies(dependencies)?;
        self.tenant.check_dependencies(dependencies)
    }

    /// What dependencies were resolved to.
    ///
    /// # Errors
    /// The first package that is not allowed, and whose policy refuses it.
    pub fn check_lock(&self, packages: &[LockedPackage]) -> Result<(), PolicyError> {
        packages.iter().try_for_each(|package| {
            self.deployment.check_locked(package)?;
            self.tenant.check_locked(package)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn narrowed(images: &[&str], tenant: Value) -> NarrowedPolicy {
        let deployment = SandboxPolicy {
            allowed_images: images.iter().map(ToString::to_string).collect(),
            max_timeout: TimeoutMs::new(60_000).unwrap(),
            ..SandboxPolicy::default()
        };
        NarrowedPolicy::new(Arc::new(deployment), serde_json::from_value(tenant).unwrap())
    }

    fn lock(name: &str, version: &str) -> Vec<LockedPackage> {
        let lock = json!({"packages": {"": {}, format!("node_modules/{name}"): {"version": version}}});
        LockedPackage::read_all(lock.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_tenants_policy_takes_away_and_says_that_it_was_the_tenants() {
        let policy = narrowed(
            &["node:20", "node:22"],
            json!({
                "allowedImages": ["node:22", "alpine"],
                "blockedPackages": ["lodash@<4.17.21"],
                "allowToolIsolation": false,
                "maxTimeoutMs": 5_000,
            }),
        );
        assert_eq!(policy.default_image(), "node:22");
        assert_eq!(policy.max_timeout().as_millis(), 5_000);
        let refused = [
            policy.check_image("node:20"),
            policy.check_timeout(TimeoutMs::new(5_001).unwrap()),
            policy.check_isolation(Isolation::Tool),
            policy.check_lock(&lock("lodash", "4.17.20")),
        ];
        for refused in refused {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("the tenant's policy"), "{error}");
        }
        assert_eq!(policy.check_lock(&lock("lodash", "4.17.21")), Ok(()));
        for image in ["alpine", "node:24"] {
            let error = policy.check_image(image).unwrap_err().to_string();
            assert!(error.contains("the deployment's policy"), "{error}");
        }
    }

    #[test]
    fn without_an_image_that_both_allow_there_is_none() {
        for tenant in [
            json!({"allowedImages": ["alpine"]}),
            json!({"allowedImages": []}),
            json!({"requireDigest": true}),
        ] {
            let policy = narrowed(&["node:22"], tenant);
            assert!(policy.check_image(policy.default_image()).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_a_narrowed_policy_allows_the_deployment_allows_and_so_does_the_tenants(
            ours in prop::collection::vec("node:[0-3]", 1..4),
            theirs in prop::option::of(prop::collection::vec("node:[0-3]", 0..4)),
            (longest, shorter) in (1_000_u64..=120_000, prop::option::of(1_000_u64..=120_000)),
            (allow, forbid) in (any::<bool>(), prop::option::of(any::<bool>())),
            blocked in prop::collection::vec("[ab](@<[0-3])?", 0..3),
            allowed in prop::option::of(prop::collection::vec("[ab](@[0-3])?", 0..3)),
            (image, timeout) in ("node:[0-3]", 1_000_u64..=120_000),
            (name, version) in ("[ab]", "[0-3]\\.0\\.0"),
        ) {
            let deployment = SandboxPolicy {
                allowed_images: ours,
                max_timeout: TimeoutMs::new(longest).unwrap(),
                allow_tool_isolation: allow,
                blocked_packages: blocked.iter().map(|rule| rule.parse().unwrap()).collect(),
                ..SandboxPolicy::default()
            };
            let tenant: TenantPolicy = serde_json::from_value(json!({
                "allowedImages": theirs, "maxTimeoutMs": shorter, "allowToolIsolation": forbid,
                "allowedPackages": allowed,
            })).unwrap();
            let both = NarrowedPolicy::new(Arc::new(deployment.clone()), tenant.clone());
            let timeout = TimeoutMs::new(timeout).unwrap();
            let packages = lock(&name, &version);
            let asked = [Dependency { name, version }];
            let (d, t) = (&deployment, &tenant);
            let isolation = Isolation::Tool;
            let verdicts = [
                (both.check_image(&image), d.check_image(&image), t.check_image(&image)),
                (both.check_timeout(timeout), d.check_timeout(timeout), t.check_timeout(timeout)),
                (both.check_isolation(isolation), d.check_isolation(isolation), t.check_isolation(isolation)),
                (both.check_dependencies(&asked), d.check_dependencies(&asked), t.check_dependencies(&asked)),
                (both.check_lock(&packages), d.check_locked(&packages[0]), t.check_locked(&packages[0])),
            ];
            for (both, deployment, tenant) in verdicts {
                prop_assert_eq!(both.is_ok(), deployment.is_ok() && tenant.is_ok());
            }
            prop_assert_eq!(both.check_timeout(timeout).is_ok(), timeout <= both.max_timeout());
        }
    }
}
