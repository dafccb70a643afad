//! Where a group of our own could be made, by what the kernel says of this process (cgroups(7), proc(5)).
//!
//! ```text
//! version 1: below our own group                          (memory/…/us ─▶ memory/…/us/dynamic-mcp-isolate-…)
//! version 2: below our own group if it is the root, else  (…/us ─▶ …/dynamic-mcp-isolate-…)
//!            beside it: a group with processes in it can't limit groups below it
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::number_in;

/// A group that ours may be made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    version: Version,
    parent: PathBuf,
    /// The group of this process.
    own: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// `membership`: of `/proc/self/cgroup`; `mounts`: of `/proc/self/mountinfo`. The best place first.
pub fn places(membership: &str, mounts: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for (version, own, top) in own_groups(membership, mounts) {
        let place = |parent: &Path| Place {
            version,
            parent: parent.to_owned(),
            own: own.clone(),
        };
        places.push(place(&own));
        if version == Version::Two
            && own != top
            && let Some(parent) = own.parent()
        {
            places.push(place(parent));
        }
    }
    places
}

/// This process's groups that may have memory, each with the top of what is mounted of its hierarchy.
fn own_groups(membership: &str, mounts: &str) -> Vec<(Version, PathBuf, PathBuf)> {
    let member = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match controllers {
            "" => Version::Two,
            some if some.split(',').any(|name| name == "memory") => Version::One,
            _ => return None,
        };
        let (root, top) = mounts.lines().find_map(|line| mounted(line, version))?;
        let below = Path::new(path).strip_prefix(root).ok()?;
        let top = PathBuf::from(top);
        Some((version, top.join(below), top))
    };
    let mut found: Vec<_> = membership.lines().filter_map(member).collect();
    // Where there are both, memory is in the first.
    found.sort_by_key(|(version, ..)| *version == Version::Two);
    found
}

/// The root and the mount point, if this line is of that hierarchy.
fn mounted(line: &str, version: Version) -> Option<(&str, &str)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut system = system.split(' ');
    let (kind, _source, options) = (system.next()?, system.next()?, system.next()?);
    let wanted = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::Two => kind == "cgroup2",
    };
    wanted.then_some((root, point))
}

impl Place {
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// Lets groups below the parent have a limit of memory.
    ///
    /// # Errors
    /// Why they can't.
    pub fn delegate(&self) -> Result<(), String> {
        if self.version == Version::One {
            return Ok(());
        }
        let has = |name: &str| {
            let text = fs::read_to_string(self.parent.join(name)).unwrap_or_default();
            text.split_whitespace().any(|controller| controller == "memory")
        };
        if has("cgroup.subtree_control") {
            return Ok(());
        }
        if !has("cgroup.controllers") {
            return Err(format!("{} has no controller of memory", self.parent.display()));
        }
        let file = self.parent.join("cgroup.subtree_control");
        fs::write(&file, "+memory").map_err(|error| format!("{}: {error}", file.display()))
    }

    pub fn limit_file(&self) -> &'static str {
        match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        }
    }

    /// Of this process's own group, which a group beside it would not be under.
    pub fn own_limit(&self) -> Option<u64> {
        number_in(&self.own.join(self.limit_file()))
    }

    /// What keeps memory from being more with swap than without.
    /// The file and the number in it that keep a group from having more with swap than without.
    pub fn swap_limit(&self, limit: u64) -> (&'static str, u64) {
        match self.version {
            Version::One => ("memory.memsw.limit_in_bytes", limit),
            Version::Two => ("memory.swap.max", 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT: &str = "\
30 20 0:25 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 20 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const UNIFIED: &str = "25 20 0:25 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate";
    const CONTAINER: &str =
        "25 20 0:25 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory";

    fn parents(membership: &str, mounts: &str) -> Vec<PathBuf> {
        let places = places(membership, mounts);
        places.into_iter().map(|place| place.parent).collect()
    }

    fn paths<const N: usize>(paths: [&str; N]) -> [PathBuf; N] {
        paths.map(PathBuf::from)
    }

    #[test]
    fn below_our_own_group_in_the_first_version() {
        let found = parents("4:memory:/us\n1:cpu:/\n0::/\n", SPLIT);
        assert_eq!(
            found,
            paths(["/sys/fs/cgroup/memory/us", "/sys/fs/cgroup/unified"])
        );
        assert_eq!(
            parents("4:memory:/docker/abc/us", CONTAINER),
            paths(["/sys/fs/cgroup/memory/us"])
        );
    }

    #[test]
    fn beside_our_own_group_in_the_second_unless_it_is_the_root() {
        assert_eq!(
            parents("0::/system.slice/us.service", UNIFIED),
            paths([
                "/sys/fs/cgroup/system.slice/us.service",
                "/sys/fs/cgroup/system.slice"
            ])
        );
        assert_eq!(parents("0::/", UNIFIED), paths(["/sys/fs/cgroup"]));
    }

    #[test]
    fn nowhere_when_nothing_is_mounted_or_what_is_mounted_is_not_ours() {
        assert_eq!(parents("0::/us", ""), paths([]));
        assert_eq!(parents("4:memory:/elsewhere", CONTAINER), paths([]));
        assert_eq!(parents("nonsense", UNIFIED), paths([]));
    }
}
