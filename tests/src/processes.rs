//! Processes that a server started, seen from outside: the isolates are among them.

use std::fs;

use anyhow::{Context, Result};

/// One process, told apart from a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub pid: u32,
    started: u64,
    pub name: String,
}

impl Seen {
    fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold anything, even a parenthesis.
        let (head, tail) = stat.rsplit_once(')').context("a stat line")?;
        let (_, name) = head.split_once('(').context("a name")?;
        // proc_pid_stat(5): the start is field 22, and the first one here is field 3.
        let started = tail.split_whitespace().nth(19).context("a start time")?;
        Ok(Self {
            pid,
            started: started.parse()?,
            name: name.to_owned(),
        })
    }

    /// Zombies are not alive: whoever takes them away is not the one that is looked at.
    pub fn is_alive(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let is_zombie = state
            .rsplit_once(')')
            .is_some_and(|(_, tail)| tail.trim_start().starts_with(['Z', 'X']));
        !is_zombie && Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// The children of a process, whichever of its threads started them.
pub fn children_of(pid: u32) -> Vec<Seen> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| Seen::of(pid.parse().ok()?).ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Its children, theirs, and so on.
pub fn descendants_of(pid: u32) -> Vec<Seen> {
    let children = children_of(pid);
    let further: Vec<_> = children
        .iter()
        .flat_map(|child| descendants_of(child.pid))
        .collect();
    [children, further].concat()
}
