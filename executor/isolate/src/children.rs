//! The children that a zygote has: which process is which, how each ends, and which of them gives way to the others.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lockdown;
use crate::sys;

/// Of the processor, in one call: from here on the call is a long one, and those that are not go first.
const LONG: Duration = Duration::from_millis(25);

/// By process id. Each is this process's own child until it is taken out here, so a number never means another process.
#[derive(Default)]
pub struct Children(BTreeMap<i32, Child>);

struct Child {
    id: u64,
    /// What it had had of the processor when its call began.
    before: Duration,
    gave_way: bool,
}

impl Children {
    pub fn add(&mut self, pid: i32, id: u64) {
        let child = Child {
            id,
            before: Duration::ZERO,
            gave_way: false,
        };
        self.0.insert(pid, child);
    }

    /// Of a process that has been reaped: what it was called.
    pub fn take(&mut self, pid: i32) -> Option<u64> {
        Some(self.0.remove(&pid)?.id)
    }

    pub fn kill(&self, id: u64) {
        if let Some((pid, _)) = self.0.iter().find(|(_, child)| child.id == id) {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }

    pub fn kill_all(&self) {
        for pid in self.0.keys() {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }

    /// A call of this child is counted from here.
    pub fn count(&mut self, id: u64) {
        if let Some((pid, child)) = self.find(id) {
            child.before = sys::processor_time(pid).unwrap_or(child.before);
        }
    }

    /// Whether this child gives way from now on, and has not before.
    pub fn weigh(&mut self, id: u64) -> bool {
        let Some((pid, child)) = self.find(id) else {
            return false;
        };
        if child.gave_way || !is_long(sys::processor_time(pid).ok(), child.before) {
            return false;
        }
        // Refused to one that has just ended.
        child.gave_way = lockdown::give_way_to_all(pid).is_ok();
        child.gave_way
    }

    fn find(&mut self, id: u64) -> Option<(i32, &mut Child)> {
        let mut all = self.0.iter_mut().map(|(pid, child)| (*pid, child));
        all.find(|(_, child)| child.id == id)
    }
}

/// Where the kernel doesn't tell what a process has had, the broker's clock alone counts, and it has asked.
fn is_long(had: Option<Duration>, before: Duration) -> bool {
    had.is_none_or(|had| had.saturating_sub(before) >= LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_long_by_what_it_has_had_itself() {
        let before = Duration::from_secs(3);
        assert!(is_long(Some(before + LONG), before));
        assert!(!is_long(Some(before + LONG / 2), before));
        assert!(!is_long(Some(LONG), before));
        assert!(is_long(None, before));
    }
}
