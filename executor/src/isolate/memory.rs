//! One limit of memory for all isolates of an engine together, where the machine has delegated a control group to us.
//! Each child has its own limit as well; this one keeps many of them from taking what everything else needs.
//!
//! Best effort: where there is none, the engine says why and goes on.

mod place;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use place::{Place, places};
use tokio::time::{Instant, sleep};

/// With the process id of the engine's process in it, by which the next one knows whether it is still there.
const PREFIX: &str = "dynamic-mcp-isolate-";
/// Of one child beyond its heap: its stack, the call's code and arguments, the result.
const OVERHEAD: u64 = 32 << 20;
/// For the kernel to put away processes that have ended.
const EMPTY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
    limit: u64,
}

impl MemoryGroup {
    /// For `slots` children of `heap` bytes. `number`: tells the engines of this process apart.
    ///
    /// # Errors
    /// Why this process can't have one.
    pub fn make(slots: u32, heap: u64, number: u64) -> Result<Self, String> {
        let read = |path| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let places = places(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let mut reasons = Vec::new();
        for place in &places {
            remove_left_behind(place.parent());
            match Self::make_in(place, slots, heap, number) {
                Ok(group) => return Ok(group),
                Err(why) => reasons.push(why),
            }
        }
        if reasons.is_empty() {
            reasons.push("no control group of memory is mounted here".to_owned());
        }
        Err(reasons.join("; "))
    }

    fn make_in(place: &Place, slots: u32, heap: u64, number: u64) -> Result<Self, String> {
        place.delegate()?;
        let path = place
            .parent()
            .join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // Removes the directory if the rest fails.
        let mut group = Self { path, limit: 0 };
        let file = group.path.join(place.limit_file());
        let limit = limit(slots, heap, &[machine_bytes(), place.own_limit()]);
        fs::write(&file, limit.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
        // Some kernels take it and do nothing.
        group.limit = number_in(&file).ok_or_else(|| format!("{} was not taken", file.display()))?;
        if group.limit > limit {
            return Err(format!(
                "{} says {} after {limit} was written",
                file.display(),
                group.limit
            ));
        }
        // Otherwise what is over the limit goes to the disk, where there is a place for it.
        let (name, most) = place.swap_limit(limit);
        let _no_swap_accounting = fs::write(group.path.join(name), most.to_string());
        Ok(group)
    }

    /// Puts a process in, and whatever it forks from now on.
    ///
    /// # Errors
    /// Why it isn't in.
    pub fn enter(&self, pid: u32) -> Result<(), String> {
        let file = self.path.join("cgroup.procs");
        let fault = |error: io::Error| format!("{}: {error}", file.display());
        fs::write(&file, pid.to_string()).map_err(fault)?;
        let inside = fs::read_to_string(&file).map_err(fault)?;
        if inside.lines().any(|line| line.parse() == Ok(pid)) {
            Ok(())
        } else {
            Err(format!(
                "{} does not name the zygote that was put in",
                file.display()
            ))
        }
    }

    /// Bytes, as the kernel has it.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// When everything in it has been ended. Waits a little for the kernel to put that away.
    pub async fn remove(&self) {
        let until = Instant::now() + EMPTY;
        while let Err(error) = fs::remove_dir(&self.path) {
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > until {
                let path = self.path.display();
                tracing::warn!(%error, %path, "a control group is left for the next start to remove");
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _removed_or_busy = fs::remove_dir(&self.path);
    }
}

/// Groups whose process is gone; one that still has processes in it stays.
fn remove_left_behind(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let dead = name.to_str().and_then(owner).is_some_and(|pid| {
            pid != std::process::id() && !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
        });
        if dead {
            let _busy = fs::remove_dir(entry.path());
        }
    }
}

/// The process that a group of this name belongs to.
fn owner(name: &str) -> Option<u32> {
    let (pid, _number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// All that the children may use, and not more than any of `most`.
fn limit(slots: u32, heap: u64, most: &[Option<u64>]) -> u64 {
    let wanted = u64::from(slots).saturating_mul(heap.saturating_add(OVERHEAD));
    let least = most.iter().flatten().min().copied();
    least.map_or(wanted, |least| wanted.min(least))
}

fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// `None` also for "max".
fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_all_children_and_never_above_what_there_is() {
        let mib = |mib: u64| mib << 20;
        assert_eq!(limit(4, mib(100), &[None, None]), mib(528));
        assert_eq!(limit(4, mib(100), &[Some(mib(900)), Some(mib(300))]), mib(300));
        assert_eq!(limit(u32::MAX, u64::MAX, &[Some(7)]), 7);
    }

    #[test]
    fn a_group_names_its_owner_and_other_directories_do_not() {
        assert_eq!(owner("dynamic-mcp-isolate-41-2"), Some(41));
        for other in [
            "dynamic-mcp-isolate-",
            "dynamic-mcp-isolate-x-1",
            "docker",
            "41-2",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn a_group_of_a_dead_process_is_removed_and_that_of_a_living_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        // Above the most that there may be.
        let dead = parent.path().join(format!("{PREFIX}4194305-0"));
        let living = parent.path().join(format!("{PREFIX}1-0"));
        for group in [&dead, &living] {
            fs::create_dir(group).unwrap();
        }
        remove_left_behind(parent.path());
        assert_eq!((dead.exists(), living.exists()), (false, true));
    }
}
