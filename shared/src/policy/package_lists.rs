//! What the two lists of one policy say of a package. The block list wins.

use super::error::{Level, PolicyError};
use super::package_rule::PackageRule;
use crate::packages::LockedPackage;

pub(super) struct PackageLists<'a> {
    /// `None`: every package.
    pub allowed: Option<&'a [PackageRule]>,
    pub blocked: &'a [PackageRule],
    pub level: Level,
}

impl PackageLists<'_> {
    /// What can be said before it is known which version a range comes to.
    pub fn check_name(&self, name: &str) -> Result<(), PolicyError> {
        let blocks = |rule: &&PackageRule| rule.is_of_every_version() && rule.concerns(name);
        if let Some(rule) = self.blocked.iter().find(blocks) {
            return Err(self.blocked_by(rule, name.to_owned(), None));
        }
        let allowed = self.allowed;
        if allowed.is_none_or(|rules| rules.iter().any(|rule| rule.concerns(name))) {
            return Ok(());
        }
        Err(self.not_allowed(name.to_owned(), None))
    }

    pub fn check_locked(&self, package: &LockedPackage) -> Result<(), PolicyError> {
        let version = package.version.as_deref();
        let shown = |name: &str| match version {
            Some(version) => format!("{name}@{version}"),
            None => name.to_owned(),
        };
        let at = || Some(package.path.clone());
        for name in package.names() {
            if let Some(rule) = self.blocked.iter().find(|rule| rule.blocks(name, version)) {
                return Err(self.blocked_by(rule, shown(name), at()));
            }
        }
        let Some(allowed) = self.allowed else {
            return Ok(());
        };
        for name in package.real_names() {
            if !allowed.iter().any(|rule| rule.allows(name, version)) {
                return Err(self.not_allowed(shown(name), at()));
            }
        }
        Ok(())
    }

    fn blocked_by(&self, rule: &PackageRule, package: String, at: Option<String>) -> PolicyError {
        PolicyError::Blocked {
            package,
            rule: rule.to_string(),
            at,
            level: self.level,
        }
    }

    fn not_allowed(&self, package: String, at: Option<String>) -> PolicyError {
        let level = self.level;
        PolicyError::NotAllowed { package, at, level }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(texts: &[&str]) -> Vec<PackageRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn locked(name: &str, version: &str) -> LockedPackage {
        let package = json!({"version": version});
        let path = format!("node_modules/{name}");
        LockedPackage::read(&path, package.as_object().unwrap()).unwrap()
    }

    #[test]
    fn the_block_list_wins_over_the_allow_list() {
        let (allowed, blocked) = (
            rules(&["@ours/*", "lodash@^4"]),
            rules(&["lodash@<4.17.21", "@ours/old"]),
        );
        let lists = PackageLists {
            allowed: Some(&allowed),
            blocked: &blocked,
            level: Level::Tenant,
        };
        for (name, version, fine) in [
            ("lodash", "4.17.21", true),
            ("lodash", "4.17.20", false),
            ("lodash", "5.0.0", false),
            ("@ours/new", "0.1.0", true),
            ("@ours/old", "0.1.0", false),
            ("left-pad", "1.0.0", false),
        ] {
            assert_eq!(
                lists.check_locked(&locked(name, version)).is_ok(),
                fine,
                "{name}@{version}"
            );
        }
        // Whether a range comes to a blocked version, only the lock tells.
        for (name, fine) in [("lodash", true), ("@ours/old", false), ("left-pad", false)] {
            assert_eq!(lists.check_name(name).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn an_alias_is_judged_by_what_it_installs() {
        let package =
            json!({"name": "evil", "version": "1.0.0", "resolved": "https://r/evil/-/evil-1.0.0.tgz"});
        let package = LockedPackage::read("node_modules/nice", package.as_object().unwrap()).unwrap();
        let (nice, evil) = (rules(&["nice"]), rules(&["evil"]));
        let lists = |allowed, blocked| PackageLists {
            allowed,
            blocked,
            level: Level::Deployment,
        };
        assert!(lists(None, &evil).check_locked(&package).is_err());
        assert!(lists(Some(&nice), &[]).check_locked(&package).is_err());
        assert!(lists(Some(&evil), &[]).check_locked(&package).is_ok());
    }

    #[test]
    fn a_refusal_says_what_where_and_whose_rule_it_is() {
        let blocked = rules(&["lodash@<4.17.21"]);
        let lists = PackageLists {
            allowed: None,
            blocked: &blocked,
            level: Level::Deployment,
        };
        assert_eq!(
            lists
                .check_locked(&locked("lodash", "4.17.20"))
                .unwrap_err()
                .to_string(),
            "package lodash@4.17.20 is blocked by the deployment's policy (MCP_SANDBOX_BLOCKED_PACKAGES) with \
             \"lodash@<4.17.21\"; it is needed at node_modules/lodash"
        );
    }
}
