//! What one tenant's tools may not, though the deployment allows it.

use serde::{Deserialize, Serialize};

use super::error::{Level, PolicyError};
use super::package_lists::PackageLists;
use super::package_rule::PackageRule;
use super::{is_pinned, parse_image};
use crate::job::{Dependency, Isolation};
use crate::limits::TimeoutMs;
use crate::packages::LockedPackage;

const MAX_IMAGES: usize = 100;
const MAX_RULES: usize = 1_000;

/// What is left out, or `null`, takes nothing away. A list that is there and empty allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Written")]
pub struct TenantPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_images: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require_digest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_packages: Option<Vec<PackageRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_packages: Option<Vec<PackageRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_tool_isolation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_timeout_ms: Option<TimeoutMs>,
}

/// As an administrator writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    allowed_images: Option<Vec<String>>,
    require_digest: Option<bool>,
    allowed_packages: Option<Vec<PackageRule>>,
    blocked_packages: Option<Vec<PackageRule>>,
    allow_tool_isolation: Option<bool>,
    max_timeout_ms: Option<TimeoutMs>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantPolicy {
    #[error("allowedImages: {image:?} is not an image reference: {allowed}")]
    Image { image: String, allowed: String },
    #[error("allowedImages: {0} has no digest (name@sha256:…), and requireDigest wants one")]
    Unpinned(String),
    #[error("{field} must have at most {max} entries, got {got}")]
    TooMany {
        field: &'static str,
        max: usize,
        got: usize,
    },
}

impl TryFrom<Written> for TenantPolicy {
    type Error = InvalidTenantPolicy;

    fn try_from(written: Written) -> Result<Self, InvalidTenantPolicy> {
        let Written {
            allowed_images,
            require_digest,
            allowed_packages,
            blocked_packages,
            allow_tool_isolation,
            max_timeout_ms,
        } = written;
        at_most("allowedImages", MAX_IMAGES, allowed_images.as_ref())?;
        at_most("allowedPackages", MAX_RULES, allowed_packages.as_ref())?;
        at_most("blockedPackages", MAX_RULES, blocked_packages.as_ref())?;
        let parse = |image: String| {
            parse_image(&image).map_err(|allowed| InvalidTenantPolicy::Image {
                image: image.chars().take(200).collect(),
                allowed,
            })
        };
        let allowed_images = allowed_images
            .map(|images| images.into_iter().map(parse).collect::<Result<Vec<_>, _>>())
            .transpose()?;
        let unpinned = allowed_images.iter().flatten().find(|image| !is_pinned(image));
        if let (Some(true), Some(image)) = (require_digest, unpinned) {
            return Err(InvalidTenantPolicy::Unpinned(image.clone()));
        }
        Ok(Self {
            allowed_images,
            require_digest,
            allowed_packages,
            blocked_packages,
            allow_tool_isolation,
            max_timeout_ms,
        })
    }
}

fn at_most<T>(field: &'static str, max: usize, entries: Option<&Vec<T>>) -> Result<(), InvalidTenantPolicy> {
    match entries.map_or(0, Vec::len) {
        got if got > max => Err(InvalidTenantPolicy::TooMany { field, max, got }),
        _ => Ok(()),
    }
}

impl TenantPolicy {
    pub(super) fn max_timeout(&self) -> TimeoutMs {
        self.max_timeout_ms.unwrap_or(TimeoutMs::MAX)
    }

    pub(super) fn check_image(&self, image: &str) -> Result<(), PolicyError> {
        let level = Level::Tenant;
        if self.require_digest == Some(true) && !is_pinned(image) {
            let image = image.to_owned();
            return Err(PolicyError::Unpinned { image, level });
        }
        match &self.allowed_images {
            Some(allowed) if !allowed.iter().any(|allowed| allowed == image) => Err(PolicyError::Image {
                image: image.to_owned(),
                allowed: allowed.clone(),
                level,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_timeout(&self, timeout: TimeoutMs) -> Result<(), PolicyError> {
        let max = self.max_timeout();
        if timeout <= max {
            return Ok(());
        }
        Err(PolicyError::Timeout {
            got: timeout.as_millis(),
            max: max.as_millis(),
            level: Level::Tenant,
        })
    }

    pub(super) fn check_isolation(&self, isolation: Isolation) -> Result<(), PolicyError> {
        match isolation {
            Isolation::Tool if self.allow_tool_isolation == Some(false) => {
                Err(PolicyError::ToolIsolation { level: Level::Tenant })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_dependencies(&self, dependencies: &[Dependency]) -> Result<(), PolicyError> {
        let lists = self.package_lists();
        dependencies
            .iter()
            .try_for_each(|dependency| lists.check_name(&dependency.name))
    }

    pub(super) fn check_locked(&self, package: &LockedPackage) -> Result<(), PolicyError> {
        self.package_lists().check_locked(package)
    }

    fn package_lists(&self) -> PackageLists<'_> {
        PackageLists {
            allowed: self.allowed_packages.as_deref(),
            blocked: self.blocked_packages.as_deref().unwrap_or_default(),
            level: Level::Tenant,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(policy: Value) -> Result<TenantPolicy, String> {
        serde_json::from_value(policy).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_or_null_takes_nothing_away_and_is_not_written() {
        for nothing in [json!({}), json!({"allowedImages": null, "maxTimeoutMs": null})] {
            let policy = parsed(nothing).unwrap();
            assert_eq!(policy, TenantPolicy::default());
            assert_eq!(serde_json::to_value(&policy).unwrap(), json!({}));
        }
    }

    #[test]
    fn a_policy_is_written_as_it_was_read() {
        let written = json!({
            "allowedImages": ["node:lts-slim"],
            "requireDigest": false,
            "allowedPackages": ["@ours/*", "lodash@^4.17.21"],
            "blockedPackages": ["left-pad"],
            "allowToolIsolation": false,
            "maxTimeoutMs": 10_000,
        });
        let policy = parsed(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&policy).unwrap(), written);
    }

    #[test]
    fn what_can_not_be_meant_is_refused_by_its_name() {
        for (wrong, said) in [
            (
                json!({"blockedPackages": ["a b"]}),
                "\"a b\" is not a package rule",
            ),
            (json!({"allowedPackages": ["a@latest"]}), "lodash@<4.17.21"),
            (
                json!({"allowedImages": ["node slim"]}),
                "allowedImages: \"node slim\"",
            ),
            (
                json!({"allowedImages": ["node:22"], "requireDigest": true}),
                "node:22 has no digest",
            ),
            (json!({"allowedImages": vec!["node:22"; 101]}), "at most 100"),
            (json!({"blockedPackages": vec!["a"; 1_001]}), "at most 1000"),
            (json!({"maxTimeoutMs": 10}), "from 1000 to 120000"),
            (json!({"maxMemory": 1}), "unknown field `maxMemory`"),
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
