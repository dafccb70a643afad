//! Zygotes and their children, as anybody sees them in `/proc`.

use std::fmt;
use std::fs;

const NAME: &[u8] = b"dynamic-mcp-isolate\0";

/// A process, told apart from a later one with its number by when it started.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub pid: u32,
    started: String,
}

impl Seen {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc_pid_stat(5): the name may hold anything; after it come the state and, as field 22, the start.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        if matches!(fields.next(), Some("Z" | "X")) {
            return None;
        }
        let started = fields.nth(18)?.to_owned();
        Some(Self { pid, started })
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// The processes of isolates that a process has started: those that keep zygotes, the zygotes, their children.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Family {
    pub keepers: Vec<Seen>,
    pub zygotes: Vec<Seen>,
    pub children: Vec<Seen>,
}

impl Family {
    pub fn of(pid: u32) -> Self {
        let below = |parents: &[Seen]| parents.iter().flat_map(|parent| children(parent.pid)).collect();
        let keepers = children(pid);
        let zygotes: Vec<_> = below(&keepers);
        let children = below(&zygotes);
        Self {
            keepers,
            zygotes,
            children,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.keepers.iter().chain(&self.zygotes).chain(&self.children)
    }
}

fn children(pid: u32) -> Vec<Seen> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    let is_isolate =
        |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(NAME));
    pids.into_iter().filter(is_isolate).filter_map(Seen::of).collect()
}
