//! The processes of a test as the machine sees them.

use std::collections::HashMap;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub fn me() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

pub fn send(pid: i32, signal: Signal) {
    let _gone = kill(Pid::from_raw(pid), signal);
}

/// Parent by process; zombies are not there any more.
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.next()?.parse().ok()
}

fn children(of: i32) -> Vec<i32> {
    let found = parents().into_iter().filter(|(_, parent)| *parent == of);
    found.map(|(pid, _)| pid).collect()
}

pub fn descendants(of: i32) -> Vec<i32> {
    let below = children(of);
    let deeper: Vec<i32> = below.iter().flat_map(|child| descendants(*child)).collect();
    [below, deeper].concat()
}

/// The processes that we started to be zygotes; each waits for the zygote below it.
pub fn keepers() -> Vec<i32> {
    children(me())
}

pub fn zygotes() -> Vec<i32> {
    keepers().into_iter().flat_map(children).collect()
}

/// The locked-down ones.
pub fn isolates() -> Vec<i32> {
    zygotes().into_iter().flat_map(children).collect()
}

/// How far a process gives way.
pub fn nice(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    // The 19th of all, in proc(5).
    after_name.split_whitespace().nth(16)?.parse().ok()
}

pub fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
