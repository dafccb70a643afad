//! Packages as an npm lockfile names them: by the place they are installed at, by their own name and by the address
//! that they come from. The three may differ, and what is installed is what the last two say.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::is_installable_name;

const FOLDER: &str = "node_modules/";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    pub path: String,
    /// As the packages around it call it: an alias, where the two others differ.
    place: String,
    own: Option<String>,
    address: Option<String>,
    pub version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dependency lock can't be read; write the tool's dependencies again to have them locked anew")]
pub struct UnreadableLock;

impl LockedPackage {
    /// `None` when the path is not a package's place in a lockfile.
    pub fn read(path: &str, package: &Map<String, Value>) -> Option<Self> {
        let text = |field: &str| package.get(field).and_then(Value::as_str);
        Some(Self {
            path: path.to_owned(),
            place: name_in_path(path)?.to_owned(),
            own: text("name").map(str::to_owned),
            address: text("resolved").and_then(name_in_url).map(Cow::into_owned),
            version: text("version").map(str::to_owned),
        })
    }

    /// Every package of a lockfile but the root project.
    ///
    /// # Errors
    /// When it is not a lockfile.
    pub fn read_all(lock: &[u8]) -> Result<Vec<Self>, UnreadableLock> {
        let lock: Value = serde_json::from_slice(lock).map_err(|_| UnreadableLock)?;
        let packages = lock["packages"].as_object().ok_or(UnreadableLock)?;
        let installed = packages.iter().filter(|(path, _)| !path.is_empty());
        let read = installed.map(|(path, package)| Self::read(path, package.as_object()?));
        read.collect::<Option<_>>().ok_or(UnreadableLock)
    }

    /// Every name that it goes by.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [Some(&self.place), self.own.as_ref(), self.address.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The names of what is installed, whatever it is called there.
    pub fn real_names(&self) -> impl Iterator<Item = &str> {
        [
            Some(self.own.as_ref().unwrap_or(&self.place)),
            self.address.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }

    /// Whether it lies in another package's folder.
    pub fn is_nested(&self) -> bool {
        self.path.matches(FOLDER).count() > 1
    }
}

/// The last package of `node_modules/a/node_modules/@b/c`, provided that every one of them is a plain name.
fn name_in_path(path: &str) -> Option<&str> {
    let mut last = None;
    for (index, part) in path.split(FOLDER).enumerate() {
        if index == 0 {
            if !part.is_empty() {
                return None;
            }
            continue;
        }
        let name = part.strip_suffix('/').unwrap_or(part);
        if !is_installable_name(name) {
            return None;
        }
        last = Some(name);
    }
    last
}

/// The package in `…/@scope/name/-/name-1.0.0.tgz`, the layout of most registries.
fn name_in_url(url: &str) -> Option<Cow<'_, str>> {
    let (before, _) = url.rsplit_once("/-/")?;
    let at_scope = before.rfind("/@").map(|at| at + 1);
    let at_base = before.rfind('/').map(|at| at + 1)?;
    let name = match at_scope {
        Some(at) if before[at..].matches('/').count() == 1 => before.get(at..),
        _ => before.get(at_base..),
    }?;
    // Some registries write a scope's slash so.
    Some(if name.contains('%') {
        Cow::Owned(name.replace("%2f", "/").replace("%2F", "/").replace("%40", "@"))
    } else {
        Cow::Borrowed(name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(path: &str, package: Value) -> Option<LockedPackage> {
        LockedPackage::read(path, package.as_object().unwrap())
    }

    #[test]
    fn a_package_has_the_name_of_its_place_of_its_own_and_of_its_address() {
        let package = json!({"name": "b", "version": "1.0.0", "resolved": "https://r/@s%2fc/-/c-1.0.0.tgz"});
        let package = read("node_modules/x/node_modules/a", package).unwrap();
        assert_eq!(package.names().collect::<Vec<_>>(), ["a", "b", "@s/c"]);
        assert_eq!(package.real_names().collect::<Vec<_>>(), ["b", "@s/c"]);
        assert!(package.is_nested());
        let plain = json!({"resolved": "https://r/team/@s/c/-/c-1.0.0.tgz"});
        let plain = read("node_modules/@s/c", plain).unwrap();
        assert_eq!(plain.names().collect::<Vec<_>>(), ["@s/c", "@s/c"]);
    }

    #[test]
    fn a_lock_is_read_whole_or_not_at_all() {
        let lock = |path: &str| json!({"packages": {"": {}, path: {"version": "1.0.0"}}}).to_string();
        assert_eq!(
            LockedPackage::read_all(lock("node_modules/a").as_bytes())
                .unwrap()
                .len(),
            1
        );
        for wrong in ["", "{}", "[]", &lock("../a"), &lock("node_modules/../a")] {
            assert_eq!(
                LockedPackage::read_all(wrong.as_bytes()),
                Err(UnreadableLock),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_path_or_address_makes_the_reading_panic(path in ".{0,60}", url in ".{0,80}") {
            let _ = read(&path, json!({"resolved": url}));
        }
    }
}
