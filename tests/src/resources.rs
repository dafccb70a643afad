//! What a process holds, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    pub descriptors: u64,
    pub threads: u64,
    /// Processes that it started and that are still there, zombies among them.
    pub children: u64,
    pub resident_bytes: u64,
}

impl Resources {
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .context("a field of the status")?;
            Ok(line
                .trim_start_matches(':')
                .split_whitespace()
                .next()
                .context("a number")?
                .parse()?)
        };
        let mut children = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            children += u64::try_from(list.split_whitespace().count())?;
        }
        Ok(Self {
            descriptors: u64::try_from(fs::read_dir(format!("/proc/{pid}/fd"))?.count())?,
            threads: field("Threads")?,
            children,
            resident_bytes: field("VmRSS")? * 1024,
        })
    }
}
