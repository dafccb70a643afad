//! How a fresh process becomes a zygote's ground: nobody's, in namespaces of its own, with nothing to see.

use std::fs;
use std::io;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{self, Gid, Uid};
use rustix::thread::CapabilitySet;

use crate::child::die_with_parent;
use crate::lockdown;

/// Who has no rights anywhere.
const NOBODY: u32 = 65_534;
/// Any directory that is there on every machine, to put the new root on.
const FOOTHOLD: &str = "/proc";

/// First in line when memory runs out. Inherited, and out of reach once the old root is.
pub fn volunteer_for_oom() {
    let _unlikely = fs::write("/proc/self/oom_score_adj", "1000");
}

/// What this process has mapped, in bytes.
pub fn mapped_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    // Without it, what a large program has mapped.
    pages.map_or(1 << 30, |pages| {
        pages.saturating_mul(rustix::param::page_size() as u64)
    })
}

/// # Errors
/// When root can't be given up.
pub fn become_nobody() -> Result<(), String> {
    if unistd::geteuid().is_root() {
        lockdown::empty_bounding_set();
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        // A container may have no right to change groups; then the ones it has are its own affair.
        let _refused = unistd::setgroups(&[]);
        unistd::setresgid(group, group, group).map_err(|error| format!("setresgid: {error}"))?;
        unistd::setresuid(user, user, user).map_err(|error| format!("setresuid: {error}"))?;
    }
    // A change of user takes it back.
    die_with_parent().map_err(|error| format!("PR_SET_PDEATHSIG: {error}"))
}

/// Namespaces of its own for everything the kernel has them for. The process one is for whatever is forked next.
///
/// # Errors
/// The step that failed. There is no way back from it.
pub fn own_namespaces() -> Result<(), String> {
    let (user, group) = (unistd::geteuid(), unistd::getegid());
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    // A change of user has made the files below root's.
    prctl::set_dumpable(true).map_err(|error| format!("PR_SET_DUMPABLE: {error}"))?;
    unshare(all).map_err(|error| format!("unshare: {error}"))?;
    for (file, line) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{NOBODY} {group} 1")),
        ("uid_map", format!("{NOBODY} {user} 1")),
    ] {
        write(&format!("/proc/self/{file}"), &line)?;
    }
    unistd::sethostname("isolate").map_err(|error| format!("sethostname: {error}"))?;
    empty_root()?;
    lockdown::empty_bounding_set();
    lockdown::keep_capabilities(CapabilitySet::SYS_ADMIN)?;
    die_with_parent().map_err(|error| format!("PR_SET_PDEATHSIG: {error}"))
}

fn write(path: &str, line: &str) -> Result<(), String> {
    fs::write(path, line).map_err(|error: io::Error| format!("{path}: {error}"))
}

/// A root with nothing in it, and the old one gone.
fn empty_root() -> Result<(), String> {
    let none = None::<&str>;
    let step = |name: &'static str| move |error: nix::Error| format!("{name}: {error}");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(step("private mounts"))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = "mode=0555,size=4k,nr_inodes=1";
    mount(Some("none"), FOOTHOLD, Some("tmpfs"), flags, Some(options)).map_err(step("the new root"))?;
    unistd::chdir(FOOTHOLD).map_err(step("chdir"))?;
    // Onto itself: the old root then lies over the new one, and is taken off.
    unistd::pivot_root(".", ".").map_err(step("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(step("the old root"))?;
    unistd::chdir("/").map_err(step("chdir /"))
}

/// Nobody may look into this process, and no program that it executes gains anything.
///
/// # Errors
/// When the kernel refuses it.
pub fn seal() -> Result<(), String> {
    prctl::set_dumpable(false).map_err(|error| format!("PR_SET_DUMPABLE: {error}"))?;
    prctl::set_no_new_privs().map_err(|error| format!("PR_SET_NO_NEW_PRIVS: {error}"))
}
