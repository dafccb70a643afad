//! Which npm packages a tool may ask for: a name with a semver range or a dist-tag, nothing else. Whatever else npm
//! would take (an alias, a git, file or URL spec) names code outside the registry and is refused.

mod locked;

use crate::job::Dependency;

pub use locked::{LockedPackage, UnreadableLock};

/// npm's own limit on a package's name.
const MAX_NAME_CHARS: usize = 214;
const MAX_VERSION_CHARS: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error(
        "dependency name {0:?} is not an npm package name: lower-case letters, digits, '-', '.', '_', with an optional @scope/"
    )]
    Name(String),
    #[error(
        "dependency {name} has version {version:?}: only a semver range (\"^4.17.0\", \"1.x\") or a tag (\"latest\") is allowed; aliases, git, file and URL specs are not"
    )]
    Version { name: String, version: String },
    #[error("dependency {0} is named twice; name it once")]
    Twice(String),
    #[error("{given} dependencies given, at most {allowed} are allowed")]
    TooMany { given: usize, allowed: usize },
}

/// Checks the whole list as an author wrote it.
///
/// # Errors
/// The first fault found, in words for that author.
pub fn check(dependencies: &[Dependency], max: usize) -> Result<(), PackageError> {
    if dependencies.len() > max {
        return Err(PackageError::TooMany {
            given: dependencies.len(),
            allowed: max,
        });
    }
    for (index, dependency) in dependencies.iter().enumerate() {
        let Dependency { name, version } = dependency;
        if !is_package_name(name) {
            return Err(PackageError::Name(name.chars().take(MAX_NAME_CHARS).collect()));
        }
        if !is_range_or_tag(version) {
            let version = version.chars().take(MAX_VERSION_CHARS).collect();
            return Err(PackageError::Version {
                name: name.clone(),
                version,
            });
        }
        if dependencies[..index].iter().any(|other| other.name == *name) {
            return Err(PackageError::Twice(name.clone()));
        }
    }
    Ok(())
}

pub fn is_package_name(name: &str) -> bool {
    let (scope, base) = match name.strip_prefix('@').map(|rest| rest.split_once('/')) {
        None => (None, name),
        Some(Some((scope, base))) => (Some(scope), base),
        Some(None) => return false,
    };
    name.len() <= MAX_NAME_CHARS
        && scope.is_none_or(is_name_part)
        && is_name_part(base)
        && !["node_modules", "favicon.ico"].contains(&name)
}

/// Wider than what an author may name: old packages, which others still need, have capitals in their names.
pub fn is_installable_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.~!'()*".contains(&b))
    };
    match name.strip_prefix('@') {
        None => plain(name),
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(scope, base)| plain(scope) && plain(base)),
    }
}

fn is_name_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
}

/// What npm would read as a version, a range or a tag; it takes a name that ends like an archive, or begins with a
/// dot, for a file.
fn is_range_or_tag(version: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-+*^~<>=| _".contains(&b);
    let lower = version.to_ascii_lowercase();
    !version.trim().is_empty()
        && version.len() <= MAX_VERSION_CHARS
        && version.bytes().all(allowed)
        && !version.trim_start().starts_with(['.', '-'])
        && ![".tgz", ".tar.gz", ".tar"]
            .iter()
            .any(|ending| lower.trim_end().ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, version: &str) -> Result<(), PackageError> {
        check(
            &[Dependency {
                name: name.into(),
                version: version.into(),
            }],
            2,
        )
    }

    #[test]
    fn ranges_and_tags_are_allowed() {
        for version in [
            "1.2.3",
            "^4.17.0",
            "~1",
            "1.x",
            "*",
            ">=1.2 <2 || 3",
            "latest",
            "next-7",
            "1.0.0-rc.1+b",
        ] {
            assert_eq!(one("lodash", version), Ok(()), "{version}");
        }
        assert_eq!(one("@scope/pack.age_1", "1"), Ok(()));
    }

    #[test]
    fn specs_that_leave_the_registry_are_refused() {
        for version in [
            "npm:evil@1",
            "git+https://x/y.git",
            "github:a/b",
            "a/b",
            "file:../x",
            "../x",
            "./x",
            "/etc",
            "http://x/y.tgz",
            "evil.tgz",
            "evil.TAR.GZ",
            "~/x",
            "",
            "  ",
            "--registry=x",
            "1\n2",
        ] {
            assert!(
                matches!(one("lodash", version), Err(PackageError::Version { .. })),
                "{version:?}"
            );
        }
    }

    #[test]
    fn names_that_are_not_packages_are_refused() {
        for name in [
            "",
            "..",
            "../x",
            "Lodash",
            "a b",
            "@scope",
            "@/x",
            "@a/b/c",
            "-g",
            "_x",
            "node_modules",
            "a@1",
        ] {
            assert!(matches!(one(name, "1"), Err(PackageError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn double_and_too_many_packages_are_refused() {
        let dependency = Dependency {
            name: "a".into(),
            version: "1".into(),
        };
        let twice = [dependency.clone(), dependency];
        assert_eq!(check(&twice, 2), Err(PackageError::Twice("a".into())));
        assert_eq!(
            check(&twice, 1),
            Err(PackageError::TooMany { given: 2, allowed: 1 })
        );
    }
}
