//! What a lockfile may hold: packages of the one registry, by name and hash, allowed by the policy at any depth. Pure,
//! because it is checked twice: when npm has written it, and again when it comes back to be installed.

use std::fmt;

use dynamic_mcp_shared::content::canonical_json;
use dynamic_mcp_shared::packages::LockedPackage;
use dynamic_mcp_shared::policy::{PolicyError, SandboxPolicy};
use http::Uri;
use serde_json::{Map, Value};

use super::egress::host_of;

/// More than any sane tool has; what it bounds is the time and the disk of an install.
pub const MAX_PACKAGES: usize = 2_000;
pub const MAX_LOCK_BYTES: usize = 4 << 20;
/// The root project's name, of no meaning to anybody.
pub const PROJECT: &str = "dynamic-mcp-tool";

/// Each is a sentence for the tool's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error("the dependency lock is not an npm lockfile of version 2 or 3: {0}")]
    Format(&'static str),
    #[error("the dependencies come to {got} packages, at most {MAX_PACKAGES} are allowed")]
    TooMany { got: usize },
    #[error("the dependency lock is larger than {} MiB", MAX_LOCK_BYTES >> 20)]
    TooLarge,
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("{path} is not a package's place in a lockfile")]
    Path { path: String },
    #[error(
        "{path} does not come from the package registry: git, file, link and URL dependencies are not allowed"
    )]
    Foreign { path: String },
    #[error("{path} has no sha512 hash in the lock, so what would be installed can't be checked")]
    Unverifiable { path: String },
}

/// Where every package must come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    url: String,
    origin: (String, String),
    endpoint: Endpoint,
}

/// Where a registry is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// https.
    pub secure: bool,
    /// In lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the http or https URL of a package registry")]
pub struct InvalidRegistry(String);

impl Registry {
    /// # Errors
    /// When the text is not an http or https URL.
    pub fn parse(url: &str) -> Result<Self, InvalidRegistry> {
        let url = url.trim();
        let invalid = || InvalidRegistry(url.chars().take(200).collect());
        Ok(Self {
            url: url.to_owned(),
            origin: origin(url).ok_or_else(invalid)?,
            endpoint: endpoint(url).ok_or_else(invalid)?,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn serves(&self, url: &str) -> bool {
        origin(url).is_some_and(|origin| origin == self.origin)
    }
}

/// A lock that has been checked, in the one form that is stored and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedLock {
    canonical: String,
}

impl CheckedLock {
    /// # Errors
    /// The first fault found, in words for the tool's author.
    pub fn parse(text: &[u8], registry: &Registry, policy: &SandboxPolicy) -> Result<Self, LockError> {
        if text.len() > MAX_LOCK_BYTES {
            return Err(LockError::TooLarge);
        }
        let lock: Value = serde_json::from_slice(text).map_err(|_| LockError::Format("it is not JSON"))?;
        if !matches!(lock["lockfileVersion"].as_u64(), Some(2 | 3)) {
            return Err(LockError::Format("its lockfileVersion is another one"));
        }
        let packages = lock["packages"]
            .as_object()
            .ok_or(LockError::Format("it has no packages"))?;
        let root = packages
            .get("")
            .and_then(Value::as_object)
            .ok_or(LockError::Format("it has no root project"))?;
        let installed = packages.len() - 1;
        if installed > MAX_PACKAGES {
            return Err(LockError::TooMany { got: installed });
        }
        for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
            let package = package
                .as_object()
                .ok_or(LockError::Format("a package is not an object"))?;
            check_package(path, package, registry, policy)?;
        }
        let mut packages = packages.clone();
        packages.insert(String::new(), root_project(root));
        // What npm may have put beside these (a second copy of the tree in version 2) would not have been checked.
        let canonical = canonical_json(&serde_json::json!({
            "name": PROJECT,
            "version": "0.0.0",
            "lockfileVersion": 3,
            "requires": true,
            "packages": packages,
        }));
        Ok(Self { canonical })
    }

    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The `package.json` that npm wants to see beside this lock.
    pub fn package_json(&self) -> Value {
        let lock: Value = serde_json::from_str(&self.canonical).unwrap_or_default();
        lock["packages"][""].clone()
    }
}

fn root_project(root: &Map<String, Value>) -> Value {
    let dependencies = root.get("dependencies").cloned();
    serde_json::json!({
        "name": PROJECT,
        "version": "0.0.0",
        "dependencies": dependencies.unwrap_or_else(|| Value::Object(Map::new())),
    })
}

fn check_package(
    path: &str,
    package: &Map<String, Value>,
    registry: &Registry,
    policy: &SandboxPolicy,
) -> Result<(), LockError> {
    let text = |field: &str| package.get(field).and_then(Value::as_str);
    let is = |field: &str| package.get(field).and_then(Value::as_bool).unwrap_or(false);
    let path_owned = || path.to_owned();

    let locked = LockedPackage::read(path, package).ok_or_else(|| LockError::Path { path: path_owned() })?;
    policy.check_locked(&locked)?;
    let resolved = text("resolved");
    if is("link") {
        return Err(LockError::Foreign { path: path_owned() });
    }
    // It came inside the archive of the package around it, which has a hash of its own.
    if is("inBundle") && resolved.is_none() && locked.is_nested() {
        return Ok(());
    }
    if !resolved.is_some_and(|url| registry.serves(url)) {
        return Err(LockError::Foreign { path: path_owned() });
    }
    let hashed = text("integrity")
        .is_some_and(|hashes| hashes.split_whitespace().any(|hash| hash.starts_with("sha512-")));
    if !hashed {
        return Err(LockError::Unverifiable { path: path_owned() });
    }
    Ok(())
}

fn origin(url: &str) -> Option<(String, String)> {
    let url: Uri = url.parse().ok()?;
    let scheme = url
        .scheme_str()
        .filter(|scheme| ["http", "https"].contains(scheme))?;
    let authority = url.authority()?.as_str().to_ascii_lowercase();
    (!authority.contains('@')).then(|| (scheme.to_owned(), authority))
}

fn endpoint(url: &str) -> Option<Endpoint> {
    let url: Uri = url.parse().ok()?;
    let secure = url.scheme_str() == Some("https");
    let authority = url.authority()?;
    Some(Endpoint {
        secure,
        host: host_of(authority)?,
        port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HASH: &str = "sha512-AAAA";

    fn registry() -> Registry {
        Registry::parse("https://npm.internal:4873/team/").unwrap()
    }

    fn package(name: &str) -> Value {
        json!({
            "version": "1.0.0",
            "resolved": format!("https://npm.internal:4873/team/{name}/-/{name}-1.0.0.tgz"),
            "integrity": HASH,
        })
    }

    fn lock_of(entries: &[(&str, Value)]) -> Value {
        let mut packages = json!({"": {"name": "w", "dependencies": {"a": "1"}}});
        for (path, package) in entries {
            packages[*path] = package.clone();
        }
        json!({"name": "w", "lockfileVersion": 3, "packages": packages})
    }

    fn check(lock: &Value) -> Result<CheckedLock, LockError> {
        let blocked = ["npm", "@evil/*", "old@<2"].map(|rule| rule.parse().unwrap());
        let policy = SandboxPolicy {
            blocked_packages: blocked.to_vec(),
            ..SandboxPolicy::default()
        };
        CheckedLock::parse(lock.to_string().as_bytes(), &registry(), &policy)
    }

    fn check_one(path: &str, package: Value) -> Result<CheckedLock, LockError> {
        check(&lock_of(&[(path, package)]))
    }

    #[test]
    fn a_registry_is_dialled_at_its_own_port_or_its_schemes() {
        let endpoint = |url| {
            let registry = Registry::parse(url).unwrap();
            let Endpoint { secure, host, port } = registry.endpoint().clone();
            (secure, host, port)
        };
        assert_eq!(
            endpoint("https://NPM.internal/x/"),
            (true, "npm.internal".to_owned(), 443)
        );
        assert_eq!(
            endpoint("http://npm.internal"),
            (false, "npm.internal".to_owned(), 80)
        );
        assert_eq!(endpoint("http://[::1]:4873/"), (false, "::1".to_owned(), 4873));
        assert!(Registry::parse("https://user@npm.internal/").is_err());
    }

    #[test]
    fn a_lock_of_registry_packages_is_taken_and_has_one_form() {
        let lock = lock_of(&[
            ("node_modules/b", package("b")),
            (
                "node_modules/b/node_modules/@s/JSONStream",
                package("@s/JSONStream"),
            ),
        ]);
        let checked = check(&lock).unwrap();
        let again = CheckedLock::parse(
            checked.as_str().as_bytes(),
            &registry(),
            &SandboxPolicy::default(),
        )
        .unwrap();
        assert_eq!(checked, again);
        assert_eq!(checked.package_json()["dependencies"], json!({"a": "1"}));
    }

    #[test]
    fn a_blocked_package_is_found_at_any_depth_and_under_any_name() {
        let mut alias = package("a");
        alias["name"] = json!("npm");
        for (path, package) in [
            ("node_modules/npm", package("npm")),
            ("node_modules/a/node_modules/b/node_modules/npm", package("npm")),
            ("node_modules/a", alias),
            ("node_modules/a", package("npm")),
            ("node_modules/a", package("@evil/pty")),
            ("node_modules/old", package("old")),
            ("node_modules/a/node_modules/npm", json!({"inBundle": true})),
        ] {
            let error = check_one(path, package).unwrap_err();
            assert!(
                matches!(error, LockError::Policy(PolicyError::Blocked { .. })),
                "{path}: {error}"
            );
        }
    }

    #[test]
    fn what_does_not_come_from_the_registry_is_refused() {
        let from = |resolved: &str| json!({"version": "1.0.0", "resolved": resolved, "integrity": HASH});
        for package in [
            from("https://elsewhere/a/-/a-1.0.0.tgz"),
            from("http://npm.internal:4873/a/-/a-1.0.0.tgz"),
            from("https://npm.internal/a/-/a-1.0.0.tgz"),
            from("https://npm.internal:4873@elsewhere/a/-/a-1.0.0.tgz"),
            from("https://user@npm.internal:4873/a/-/a-1.0.0.tgz"),
            from("git+ssh://git@npm.internal:4873/a.git#1"),
            from("file:../a"),
            json!({"version": "1.0.0", "integrity": HASH}),
            json!({"resolved": "packages/a", "link": true}),
            json!({"inBundle": true}),
        ] {
            let error = check_one("node_modules/a", package.clone()).unwrap_err();
            assert!(matches!(error, LockError::Foreign { .. }), "{package}: {error}");
        }
    }

    #[test]
    fn a_package_without_a_strong_hash_is_refused() {
        for integrity in [json!(null), json!(""), json!("sha1-AAAA"), json!(7)] {
            let mut package = package("a");
            package["integrity"] = integrity;
            let error = check_one("node_modules/a", package).unwrap_err();
            assert!(matches!(error, LockError::Unverifiable { .. }), "{error}");
        }
    }

    #[test]
    fn paths_that_leave_node_modules_are_refused() {
        for path in [
            "a",
            "packages/a",
            "node_modules/",
            "node_modules/..",
            "node_modules/../../etc",
            "node_modules/a/../b",
            "/node_modules/a",
            "node_modules/@s",
            "node_modules/@s/..",
            "node_modules/a\u{0}",
            "node_modules/.bin",
        ] {
            let error = check_one(path, package("a")).unwrap_err();
            assert!(matches!(error, LockError::Path { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn a_lock_of_another_kind_or_size_is_refused() {
        for lock in [json!(1), json!({}), json!({"lockfileVersion": 1, "packages": {}})] {
            assert!(
                matches!(check(&lock).unwrap_err(), LockError::Format(_)),
                "{lock}"
            );
        }
        let paths: Vec<String> = (0..=MAX_PACKAGES).map(|n| format!("node_modules/a{n}")).collect();
        let entries: Vec<_> = paths.iter().map(|path| (path.as_str(), package("a"))).collect();
        assert_eq!(
            check(&lock_of(&entries)).unwrap_err(),
            LockError::TooMany {
                got: MAX_PACKAGES + 1
            }
        );
        let large = vec![b' '; MAX_LOCK_BYTES + 1];
        assert_eq!(
            CheckedLock::parse(&large, &registry(), &SandboxPolicy::default()).unwrap_err(),
            LockError::TooLarge
        );
    }

    #[test]
    fn what_npm_writes_beside_the_checked_packages_is_left_out() {
        let mut lock = lock_of(&[("node_modules/a", package("a"))]);
        lock["lockfileVersion"] = json!(2);
        lock["dependencies"] = json!({"npm": {"version": "https://elsewhere/npm.tgz"}});
        assert!(!check(&lock).unwrap().as_str().contains("elsewhere"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in ".{0,200}", path in ".{0,60}", resolved in ".{0,60}") {
            let _ = CheckedLock::parse(text.as_bytes(), &registry(), &SandboxPolicy::default());
            let _ = check_one(&path, json!({"resolved": resolved, "integrity": HASH}));
        }

        #[test]
        fn only_the_registrys_own_origin_serves(host in "[a-z0-9.:@/-]{1,30}") {
            let url = format!("https://{host}/a/-/a-1.0.0.tgz");
            let authority = url.parse::<Uri>().ok().and_then(|url| url.authority().map(ToString::to_string));
            prop_assert_eq!(registry().serves(&url), authority.as_deref() == Some("npm.internal:4873"));
        }
    }
}
