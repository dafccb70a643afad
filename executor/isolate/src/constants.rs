//! What the linker has written into this program's constants at its start, out of the way of forks.
//!
//! A program that may be loaded anywhere has its tables of addresses written when it is: in a large one some 500 pages
//! that are the process's own, which every fork enters into the child's page table and every end takes out again, though
//! a child reads a handful. Mapped from a file in memory they are looked up when they are read.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::sys;

/// Best effort: where it fails, children are made a little slower.
pub fn share() {
    let _slower = try_share();
}

fn try_share() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let Some(constants) = program.to_str().and_then(|path| find(&maps, path)) else {
        return Ok(());
    };
    let mut bytes = vec![0; constants.len()];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, constants.start as u64)?;
    let mut copy = File::from(memfd_create("constants", MemfdFlags::CLOEXEC)?);
    copy.write_all(&bytes)?;
    sys::map_copy(constants, &copy)
}

/// The pages of the program that are only read and lie behind its code: there the linker has written, and has taken the
/// right to write away.
fn find(maps: &str, program: &str) -> Option<std::ops::Range<usize>> {
    let mut own = maps.lines().filter(|line| line.ends_with(program));
    own.find(|line| line.contains(" r-xp "))?;
    let line = own.find(|line| line.contains(" r--p "))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0a67000 r--p 00000000 fe:00 9    /opt/dynamic-mcp
55d0c0a67000-55d0c25b3000 r-xp 00a66000 fe:00 9    /opt/dynamic-mcp
55d0c25b3000-55d0c27ae000 r--p 025b1000 fe:00 9    /opt/dynamic-mcp
55d0c27ae000-55d0c27b8000 rw-p 027ab000 fe:00 9    /opt/dynamic-mcp
7f6418427000-7f641844d000 r--p 00000000 fe:00 3    /usr/lib/libc.so.6
";

    #[test]
    fn the_constants_lie_behind_the_code() {
        assert_eq!(
            find(MAPS, "/opt/dynamic-mcp"),
            Some(0x55d0_c25b_3000..0x55d0_c27a_e000)
        );
    }

    #[test]
    fn a_program_that_has_none_is_left_alone() {
        assert_eq!(find(MAPS, "/usr/lib/libc.so.6"), None);
        assert_eq!(find(MAPS, "/opt/other"), None);
        assert_eq!(find("", "/opt/dynamic-mcp"), None);
    }
}
