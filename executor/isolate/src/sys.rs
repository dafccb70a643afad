//! Every unsafe call of this crate: what the kernel offers and no crate wraps safely. Nothing here decides anything.

#![expect(
    unsafe_code,
    reason = "fork, a descriptor made from its number and wait4 have no safe form; each block says why it is sound"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal};

/// Where a child has its only descriptor.
pub const CHANNEL: RawFd = 3;

/// Which of the two a fork came back in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    Child,
    Parent { pid: i32 },
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub pid: i32,
    /// As `wait` gives it.
    pub status: i32,
    pub max_rss_kib: u64,
}

/// A copy of this process. `flags`: namespaces that are the child's own, or 0.
///
/// By the old `clone`: container engines refuse `clone3` by default, and a filter can't see its flags.
///
/// # Errors
/// When the kernel refuses it.
pub fn fork(flags: libc::c_int) -> io::Result<Forked> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a stack of its own and without CLONE_VM the child is a copy-on-write copy, as after fork. This
    // process has one thread (it is called before any is made), so that no lock is held by a thread that the copy lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent {
            pid: i32::try_from(pid).unwrap_or(i32::MAX),
        }),
    }
}

/// The next child that has ended, without waiting for one. `Ok(None)`: none has.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn reap() -> io::Result<Option<Ended>> {
    wait(libc::WNOHANG)
}

/// The next child that ends.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn wait_for_any() -> io::Result<Option<Ended>> {
    wait(0)
}

fn wait(options: libc::c_int) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage, which is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that live through the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Ended {
            pid,
            status,
            max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        })),
    }
}

/// Leaves this process with one descriptor, number 3, and gives it as a file.
///
/// # Errors
/// When the descriptors can't be moved or closed.
pub fn keep_only(channel: OwnedFd) -> io::Result<File> {
    // SAFETY: only numbers go in. What was open under these numbers belongs to values that this process, which is
    // about to run nothing but a child's body, never touches again; `channel` itself is forgotten below.
    let moved = unsafe { libc::dup3(channel.as_raw_fd(), CHANNEL, 0) };
    // It refuses to move a descriptor to where it is.
    if moved < 0 && channel.as_raw_fd() != CHANNEL {
        return Err(io::Error::last_os_error());
    }
    std::mem::forget(channel);
    close_range(0, CHANNEL - 1)?;
    close_range(CHANNEL + 1, RawFd::MAX)?;
    // SAFETY: the descriptor is open (just made), and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(CHANNEL) })
}

/// Closes every descriptor from `first` on.
///
/// # Errors
/// When the kernel refuses it.
pub fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: only numbers go in; the callers say why nobody uses what was open under them.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // A kernel before 5.9. A fresh process has few descriptors, all of them low.
    for fd in first..=last.min(1_024) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Puts a copy of what is read in that range in its place.
///
/// # Errors
/// When the kernel refuses it.
pub fn map_copy(range: Range<usize>, copy: &File) -> io::Result<()> {
    let at = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the caller says that the file holds the very bytes of the range, which nobody may write; whoever reads them
    // meanwhile, or holds a reference into them, sees the same bytes before and after.
    unsafe {
        rustix::mm::mmap(
            at,
            range.len(),
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED,
            copy,
            0,
        )
    }?;
    Ok(())
}

/// The descriptor under a number that this process was started with.
pub fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: called once for each number, at the very beginning of a process, before anything else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes back whatever handlers the language's start-up has set.
///
/// # Errors
/// When the kernel refuses it.
pub fn reset_signals() -> nix::Result<()> {
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// The time zone of the process, before there is a second thread.
pub fn set_time_zone(name: &str) {
    // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("TZ", name) };
    unsafe extern "C" {
        fn tzset();
    }
    // SAFETY: as above.
    unsafe { tzset() };
}

/// What another process, a child of this one, has had of the processor.
///
/// # Errors
/// When there is no such process, or the kernel doesn't tell.
pub fn processor_time(pid: i32) -> io::Result<Duration> {
    // The number of its clock, as clock_getcpuclockid(3) makes it; that one asks the kernel in a further way.
    let clock = (!pid << 3) | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local that lives through the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Ok(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Lets a child of this process run only while nothing else wants to.
///
/// # Errors
/// When the child has ended, or the kernel has no such policy.
pub fn leave_at_once(pid: i32) -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    if unsafe { libc::sched_setscheduler(pid, libc::SCHED_IDLE, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ends the process at once: no destructors, no output.
pub fn exit(code: i32) -> ! {
    // SAFETY: it never returns.
    unsafe { libc::_exit(code) }
}
