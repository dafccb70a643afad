//! What processes take of memory: pages that several share are counted once, in parts.

use std::fs;

use anyhow::{Context, Result};

/// Of a process and all that descend from it, in megabytes. One that ends meanwhile counts for nothing.
pub fn of_tree(root: u32) -> Result<f64> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            parents.push((pid, parent));
        }
    }
    let (mut tree, mut at) = (vec![root], 0);
    while let Some(&parent) = tree.get(at) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    let kilobytes: u64 = tree.into_iter().filter_map(proportional_kilobytes).sum();
    Ok(kilobytes as f64 * 1024.0 / 1e6)
}

/// Resident memory of a process, in megabytes, as the kernel counts it.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = kilobytes(&status, "VmRSS:").context("VmRSS")?;
    Ok(kilobytes as f64 * 1024.0 / 1e6)
}

/// The name before it may hold anything, brackets too.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn proportional_kilobytes(pid: u32) -> Option<u64> {
    kilobytes(
        &fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?,
        "Pss:",
    )
}

fn kilobytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
