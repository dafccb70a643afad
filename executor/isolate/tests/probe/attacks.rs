//! What is tried, in one table: each attack with the walls that must refuse it all by themselves. At full lockdown each
//! ends the process, but for the few that are refused by a limit.
//!
//! Signals that are sent are number 0: whether they may be sent is the same question, and a wall that fails harms nobody.

#![expect(unsafe_code, reason = "an attack is a bare system call")]

use std::ffi::CString;

use dynamic_mcp_isolate::walls::Wall;
use libtest_mimic::{Failed, Trial};

use crate::broker::{End, Zygote};
use crate::tiers;

pub struct Attack {
    pub name: &'static str,
    /// What the kernel answered: negative when it refused.
    pub act: fn() -> i64,
    pub alone: &'static [Wall],
    pub at_full: Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// By the filter.
    Killed,
    /// By the filter, or because the processor knows no such door.
    KilledOrFault,
    /// By a limit.
    Refused,
    /// It is no attack, but what a row of the table is for.
    Allowed,
}

macro_rules! attack {
    ($name:literal, $number:expr, [$($argument:expr),*], [$($wall:expr),*]) => {
        Attack {
            name: $name,
            act: || call($number, &[$($argument),*]),
            alone: &[$($wall),*],
            at_full: Full::Killed,
        }
    };
}

const AT: i64 = libc::AT_FDCWD as i64;
const O_RDONLY: i64 = libc::O_RDONLY as i64;
const O_RDWR: i64 = libc::O_RDWR as i64;
const RW: i64 = (libc::PROT_READ | libc::PROT_WRITE) as i64;
const RWX: i64 = RW | libc::PROT_EXEC as i64;
const PRIVATE: i64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as i64;
const SHARED: i64 = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as i64;
/// In a process namespace of its own there is nobody but the process itself.
const PARENT: i64 = 2;
const UNKNOWN: i64 = 4_000;
/// The other numbering of the same calls.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

const ATTACKS: &[Attack] = &[
    attack!("open", libc::SYS_open, [path("/"), O_RDONLY], [Wall::Landlock]),
    attack!(
        "openat",
        libc::SYS_openat,
        [AT, path("/"), O_RDONLY],
        [Wall::Landlock]
    ),
    attack!(
        "openat2",
        libc::SYS_openat2,
        [AT, path("/"), buffer(), 24],
        [Wall::Landlock]
    ),
    attack!(
        "open_proc",
        libc::SYS_openat,
        [AT, path("/proc/self/status"), O_RDONLY],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "open_devices",
        libc::SYS_openat,
        [AT, path("/dev/null"), O_RDWR],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "open_passwords",
        libc::SYS_openat,
        [AT, path("/etc/passwd"), O_RDONLY],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "creat",
        libc::SYS_creat,
        [path("/tmp/x"), 0o600],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "stat_old_root",
        libc::SYS_newfstatat,
        [AT, path("/etc"), buffer(), 0],
        [Wall::Namespaces]
    ),
    attack!(
        "socket",
        libc::SYS_socket,
        [libc::AF_INET as i64, libc::SOCK_STREAM as i64, 0],
        [Wall::Limits]
    ),
    attack!(
        "socket_unix",
        libc::SYS_socket,
        [libc::AF_UNIX as i64, libc::SOCK_STREAM as i64, 0],
        [Wall::Limits]
    ),
    attack!(
        "socket_packet",
        libc::SYS_socket,
        [libc::AF_PACKET as i64, libc::SOCK_RAW as i64, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "socket_netlink",
        libc::SYS_socket,
        [libc::AF_NETLINK as i64, libc::SOCK_RAW as i64, 0],
        [Wall::Limits]
    ),
    attack!("connect", libc::SYS_connect, [3, buffer(), 16], []),
    attack!("bind", libc::SYS_bind, [3, buffer(), 16], []),
    attack!("sendto", libc::SYS_sendto, [3, buffer(), 4, 0, 0, 0], []),
    attack!("sendmsg", libc::SYS_sendmsg, [3, buffer(), 0], []),
    attack!("recvmsg", libc::SYS_recvmsg, [3, buffer(), 0], []),
    attack!("shutdown", libc::SYS_shutdown, [3, 2], []),
    attack!(
        "getsockopt",
        libc::SYS_getsockopt,
        [3, 1, 17, buffer(), buffer()],
        []
    ),
    attack!(
        "execve",
        libc::SYS_execve,
        [path("/bin/sh"), 0, 0],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "execveat",
        libc::SYS_execveat,
        [AT, path("/bin/sh"), 0, 0, 0],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!("fork", libc::SYS_fork, [], [Wall::Limits]),
    attack!("vfork", libc::SYS_vfork, [], [Wall::Limits]),
    attack!(
        "clone",
        libc::SYS_clone,
        [libc::SIGCHLD as i64, 0, 0, 0, 0],
        [Wall::Limits]
    ),
    attack!(
        "clone_thread",
        libc::SYS_clone,
        [
            (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as i64,
            0,
            0,
            0,
            0
        ],
        [Wall::Limits]
    ),
    attack!(
        "clone_users",
        libc::SYS_clone,
        [(libc::CLONE_NEWUSER | libc::SIGCHLD) as i64, 0, 0, 0, 0],
        [Wall::Limits]
    ),
    attack!("clone3", libc::SYS_clone3, [buffer(), 64], []),
    attack!(
        "ptrace",
        libc::SYS_ptrace,
        [libc::PTRACE_ATTACH as i64, PARENT, 0, 0],
        [Wall::Namespaces]
    ),
    attack!("kill", libc::SYS_kill, [PARENT, 0], [Wall::Namespaces]),
    attack!("kill_all", libc::SYS_kill, [-1, 0], [Wall::Namespaces]),
    attack!("tkill", libc::SYS_tkill, [PARENT, 0], [Wall::Namespaces]),
    attack!(
        "tgkill",
        libc::SYS_tgkill,
        [PARENT, PARENT, 0],
        [Wall::Namespaces]
    ),
    attack!(
        "pidfd_open",
        libc::SYS_pidfd_open,
        [PARENT, 0],
        [Wall::Namespaces]
    ),
    attack!("pidfd_getfd", libc::SYS_pidfd_getfd, [3, 0, 0], []),
    attack!("getppid", libc::SYS_getppid, [], []),
    attack!(
        "mount",
        libc::SYS_mount,
        [path("none"), path("/"), path("tmpfs"), 0, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "umount",
        libc::SYS_umount2,
        [path("/"), libc::MNT_DETACH as i64],
        [Wall::Capabilities]
    ),
    attack!(
        "pivot_root",
        libc::SYS_pivot_root,
        [path("/"), path("/")],
        [Wall::Capabilities]
    ),
    attack!(
        "fsopen",
        libc::SYS_fsopen,
        [path("tmpfs"), 0],
        [Wall::Capabilities]
    ),
    attack!(
        "open_tree",
        libc::SYS_open_tree,
        [AT, path("/"), 1],
        [Wall::Capabilities]
    ),
    attack!(
        "unshare_users",
        libc::SYS_unshare,
        [libc::CLONE_NEWUSER as i64],
        []
    ),
    attack!(
        "unshare_network",
        libc::SYS_unshare,
        [libc::CLONE_NEWNET as i64],
        [Wall::Capabilities]
    ),
    attack!("setns", libc::SYS_setns, [3, libc::CLONE_NEWNET as i64], []),
    attack!(
        "io_uring_setup",
        libc::SYS_io_uring_setup,
        [4, buffer()],
        [Wall::Limits]
    ),
    attack!("bpf", libc::SYS_bpf, [0, buffer(), 64], [Wall::Capabilities]),
    attack!("keyctl", libc::SYS_keyctl, [0, -3, 0], []),
    attack!(
        "add_key",
        libc::SYS_add_key,
        [path("user"), path("x"), path("y"), 1, -3],
        []
    ),
    attack!(
        "request_key",
        libc::SYS_request_key,
        [path("user"), path("x"), 0, -3],
        []
    ),
    attack!(
        "perf_event_open",
        libc::SYS_perf_event_open,
        [buffer(), 0, -1, -1, 0],
        []
    ),
    attack!("userfaultfd", libc::SYS_userfaultfd, [1], [Wall::Limits]),
    attack!(
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        [PARENT, vector(), 1, vector(), 1, 0],
        [Wall::Namespaces]
    ),
    attack!(
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        [PARENT, vector(), 1, vector(), 1, 0],
        [Wall::Namespaces]
    ),
    attack!("shmget", libc::SYS_shmget, [1234, 4096, 0o1600], []),
    attack!("shmat", libc::SYS_shmat, [0, 0, 0], []),
    attack!("msgget", libc::SYS_msgget, [1234, 0o1600], []),
    attack!("semget", libc::SYS_semget, [1234, 1, 0o1600], []),
    attack!("mq_open", libc::SYS_mq_open, [path("x"), 0o102, 0o600, 0], []),
    attack!(
        "memfd_create",
        libc::SYS_memfd_create,
        [path("x"), 0],
        [Wall::Limits]
    ),
    attack!("memfd_secret", libc::SYS_memfd_secret, [0], []),
    attack!(
        "map_executable",
        libc::SYS_mmap,
        [0, 4096, RWX, PRIVATE, -1, 0],
        []
    ),
    attack!("map_shared", libc::SYS_mmap, [0, 4096, RW, SHARED, -1, 0], []),
    attack!(
        "map_file",
        libc::SYS_mmap,
        [0, 4096, libc::PROT_READ as i64, libc::MAP_PRIVATE as i64, 3, 0],
        []
    ),
    attack!(
        "map_fixed",
        libc::SYS_mmap,
        [0x10000, 4096, RW, PRIVATE | libc::MAP_FIXED as i64, -1, 0],
        []
    ),
    attack!("protect_executable", libc::SYS_mprotect, [page(), 4096, RWX], []),
    attack!(
        "pkey_mprotect",
        libc::SYS_pkey_mprotect,
        [page(), 4096, RWX, -1],
        []
    ),
    attack!(
        "madvise",
        libc::SYS_madvise,
        [page(), 4096, libc::MADV_DONTNEED as i64],
        []
    ),
    attack!(
        "remap_fixed",
        libc::SYS_mremap,
        [page(), 4096, 4096, 3, page()],
        []
    ),
    attack!("personality", libc::SYS_personality, [0x0400000], []),
    attack!("quotactl", libc::SYS_quotactl, [0, 0, 0, 0], []),
    attack!("swapon", libc::SYS_swapon, [path("/x"), 0], [Wall::Capabilities]),
    attack!(
        "reboot",
        libc::SYS_reboot,
        [0xfee1dead, 672274793, 0, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "init_module",
        libc::SYS_init_module,
        [0, 0, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "finit_module",
        libc::SYS_finit_module,
        [3, 0, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "delete_module",
        libc::SYS_delete_module,
        [path("x"), 0],
        [Wall::Capabilities]
    ),
    attack!(
        "kexec_load",
        libc::SYS_kexec_load,
        [0, 0, 0, 0],
        [Wall::Capabilities]
    ),
    attack!(
        "settimeofday",
        libc::SYS_settimeofday,
        [buffer(), 0],
        [Wall::Capabilities]
    ),
    attack!(
        "clock_settime",
        libc::SYS_clock_settime,
        [0, buffer()],
        [Wall::Capabilities]
    ),
    attack!("adjtimex", libc::SYS_adjtimex, [buffer()], []),
    attack!("setuid", libc::SYS_setuid, [0], [Wall::Capabilities]),
    attack!("setgid", libc::SYS_setgid, [5], [Wall::Capabilities]),
    attack!("setgroups", libc::SYS_setgroups, [0, 0], [Wall::Capabilities]),
    attack!("setresuid", libc::SYS_setresuid, [0, 0, 0], [Wall::Capabilities]),
    attack!("capset", libc::SYS_capset, [buffer(), buffer()], []),
    attack!("capget", libc::SYS_capget, [buffer(), buffer()], []),
    attack!(
        "prctl_dumpable",
        libc::SYS_prctl,
        [libc::PR_SET_DUMPABLE as i64, 1, 0, 0, 0],
        []
    ),
    attack!(
        "prctl_seccomp",
        libc::SYS_prctl,
        [libc::PR_SET_SECCOMP as i64, 0, 0, 0, 0],
        []
    ),
    attack!("seccomp", libc::SYS_seccomp, [0, 0, 0], []),
    attack!("dup", libc::SYS_dup, [3], [Wall::Limits]),
    attack!("dup3", libc::SYS_dup3, [3, 9, 0], [Wall::Limits]),
    attack!(
        "fcntl_dup",
        libc::SYS_fcntl,
        [3, libc::F_DUPFD as i64, 0],
        [Wall::Limits]
    ),
    attack!("ioctl", libc::SYS_ioctl, [3, 0x541B, buffer()], []),
    attack!("read_0", libc::SYS_read, [0, buffer(), 1], []),
    attack!("read_1", libc::SYS_read, [1, buffer(), 1], []),
    attack!("read_4", libc::SYS_read, [4, buffer(), 1], []),
    attack!("write_2", libc::SYS_write, [2, path("x"), 1], []),
    attack!("write_4", libc::SYS_write, [4, path("x"), 1], []),
    attack!("readv", libc::SYS_readv, [3, buffer(), 0], []),
    attack!("writev", libc::SYS_writev, [3, buffer(), 0], []),
    attack!("pread", libc::SYS_pread64, [3, buffer(), 1, 0], []),
    attack!("splice", libc::SYS_splice, [3, 0, 3, 0, 1, 0], []),
    attack!("tee", libc::SYS_tee, [3, 3, 1, 0], []),
    attack!("vmsplice", libc::SYS_vmsplice, [3, buffer(), 0, 0], []),
    attack!("sendfile", libc::SYS_sendfile, [3, 3, 0, 1], []),
    attack!("pipe", libc::SYS_pipe2, [buffer(), 0], [Wall::Limits]),
    attack!(
        "socketpair",
        libc::SYS_socketpair,
        [1, 1, 0, buffer()],
        [Wall::Limits]
    ),
    attack!("eventfd", libc::SYS_eventfd2, [0, 0], [Wall::Limits]),
    attack!("epoll", libc::SYS_epoll_create1, [0], [Wall::Limits]),
    attack!("timerfd", libc::SYS_timerfd_create, [1, 0], [Wall::Limits]),
    attack!(
        "signalfd",
        libc::SYS_signalfd4,
        [-1, buffer(), 8, 0],
        [Wall::Limits]
    ),
    attack!("inotify", libc::SYS_inotify_init1, [0], [Wall::Limits]),
    attack!("fanotify", libc::SYS_fanotify_init, [0, 0], [Wall::Limits]),
    attack!("chroot", libc::SYS_chroot, [path("/")], [Wall::Capabilities]),
    attack!("chdir", libc::SYS_chdir, [path("/etc")], [Wall::Namespaces]),
    attack!(
        "mknod",
        libc::SYS_mknodat,
        [AT, path("/tmp/x"), 0o10600, 0],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "mkdir",
        libc::SYS_mkdirat,
        [AT, path("/tmp/x"), 0o700],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "link",
        libc::SYS_linkat,
        [AT, path("/etc/passwd"), AT, path("/tmp/x"), 0],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "symlink",
        libc::SYS_symlinkat,
        [path("/etc"), AT, path("/tmp/x")],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "rename",
        libc::SYS_renameat2,
        [AT, path("/tmp/x"), AT, path("/tmp/y"), 0],
        [Wall::Namespaces]
    ),
    attack!(
        "unlink",
        libc::SYS_unlinkat,
        [AT, path("/tmp/x"), 0],
        [Wall::Namespaces]
    ),
    attack!(
        "chmod",
        libc::SYS_fchmodat,
        [AT, path("/tmp"), 0o777],
        [Wall::Namespaces]
    ),
    attack!(
        "chown",
        libc::SYS_fchownat,
        [AT, path("/tmp"), 0, 0, 0],
        [Wall::Namespaces]
    ),
    attack!(
        "truncate",
        libc::SYS_truncate,
        [path("/etc/passwd"), 0],
        [Wall::Landlock, Wall::Namespaces]
    ),
    attack!(
        "statfs",
        libc::SYS_statfs,
        [path("/proc"), buffer()],
        [Wall::Namespaces]
    ),
    attack!("getdents", libc::SYS_getdents64, [3, buffer(), 64], []),
    attack!(
        "sethostname",
        libc::SYS_sethostname,
        [path("x"), 1],
        [Wall::Capabilities]
    ),
    attack!("acct", libc::SYS_acct, [path("/x")], [Wall::Capabilities]),
    attack!("syslog", libc::SYS_syslog, [3, buffer(), 64], []),
    attack!(
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        [AT, path("/etc"), buffer(), buffer(), 0],
        [Wall::Namespaces]
    ),
    attack!(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [3, buffer(), 0],
        []
    ),
    attack!(
        "landlock_create",
        libc::SYS_landlock_create_ruleset,
        [0, 0, 1],
        []
    ),
    attack!("landlock_restrict", libc::SYS_landlock_restrict_self, [3, 0], []),
    attack!(
        "raise_files",
        libc::SYS_prlimit64,
        [0, libc::RLIMIT_NOFILE as i64, limits(64), 0],
        [Wall::Limits]
    ),
    attack!(
        "raise_processes",
        libc::SYS_prlimit64,
        [0, libc::RLIMIT_NPROC as i64, limits(64), 0],
        [Wall::Limits]
    ),
    attack!(
        "limits_of_parent",
        libc::SYS_prlimit64,
        [PARENT, libc::RLIMIT_CPU as i64, limits(1), 0],
        [Wall::Namespaces]
    ),
    attack!("raise_priority", libc::SYS_setpriority, [0, 0, -5], []),
    attack!(
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        [0, 8, buffer()],
        []
    ),
    attack!(
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        [0, 1, buffer()],
        []
    ),
    attack!("membarrier", libc::SYS_membarrier, [0, 0, 0], []),
    attack!("rseq", libc::SYS_rseq, [buffer(), 32, 0, 0], []),
    attack!("futex", libc::SYS_futex, [buffer(), 0, 1, 0, 0, 0], []),
    attack!("mlock", libc::SYS_mlock, [page(), 4096], [Wall::Limits]),
    attack!("mlockall", libc::SYS_mlockall, [1], [Wall::Limits]),
    attack!("set_robust_list", libc::SYS_set_robust_list, [buffer(), 24], []),
    attack!("rt_sigaction", libc::SYS_rt_sigaction, [31, 0, 0, 8], []),
    attack!("rt_sigreturn", libc::SYS_rt_sigreturn, [], []),
    attack!("sigaltstack", libc::SYS_sigaltstack, [0, 0], []),
    attack!("wait4", libc::SYS_wait4, [-1, 0, 1, 0], []),
    attack!("getpid", libc::SYS_getpid, [], []),
    attack!("uname", libc::SYS_uname, [buffer()], []),
    attack!("sysinfo", libc::SYS_sysinfo, [buffer()], []),
    attack!("getcwd", libc::SYS_getcwd, [buffer(), 64], []),
    attack!("poll", libc::SYS_poll, [buffer(), 0, 0], []),
    attack!("pause", libc::SYS_pause, [], []),
    attack!(
        "sleep_another_clock",
        libc::SYS_clock_nanosleep,
        [libc::CLOCK_REALTIME_ALARM as i64, 0, buffer(), 0],
        []
    ),
    attack!("random_blocking_pool", libc::SYS_getrandom, [buffer(), 1, 2], []),
    attack!("exit_one_thread", libc::SYS_exit, [0], []),
    attack!(
        "kcmp",
        libc::SYS_kcmp,
        [PARENT, PARENT, 0, 0, 0],
        [Wall::Namespaces]
    ),
    attack!(
        "process_madvise",
        libc::SYS_process_madvise,
        [3, buffer(), 1, 4, 0],
        []
    ),
    attack!(
        "move_pages",
        libc::SYS_move_pages,
        [PARENT, 0, 0, 0, 0, 0],
        [Wall::Namespaces]
    ),
    attack!("mbind", libc::SYS_mbind, [page(), 4096, 0, 0, 0, 0], []),
    attack!("ioperm", libc::SYS_ioperm, [0, 1, 1], [Wall::Capabilities]),
    attack!("iopl", libc::SYS_iopl, [3], [Wall::Capabilities]),
    attack!("modify_ldt", libc::SYS_modify_ldt, [0, buffer(), 16], []),
    attack!("arch_prctl", libc::SYS_arch_prctl, [0x1003, buffer()], []),
    attack!("unknown_number", UNKNOWN, [], []),
    attack!("x32_getpid", X32 | libc::SYS_getpid, [], []),
    attack!("x32_read", X32 | libc::SYS_read, [3, buffer(), 1], []),
    Attack {
        name: "int80_getpid",
        act: int80,
        alone: &[],
        at_full: Full::KilledOrFault,
    },
    Attack {
        name: "map_everything",
        act: || call(libc::SYS_mmap, &[0, 1 << 40, RW, PRIVATE, -1, 0]),
        alone: &[Wall::Limits],
        at_full: Full::Refused,
    },
    Attack {
        name: "allowed_clock_gettime",
        act: || call(libc::SYS_clock_gettime, &[1, buffer()]),
        alone: &[],
        at_full: Full::Allowed,
    },
    Attack {
        name: "allowed_gettimeofday",
        act: || call(libc::SYS_gettimeofday, &[buffer(), 0]),
        alone: &[],
        at_full: Full::Allowed,
    },
];

pub fn all() -> &'static [Attack] {
    ATTACKS
}

pub fn named(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}

pub fn trials() -> impl Iterator<Item = Trial> {
    let full = ATTACKS
        .iter()
        .map(|attack| Trial::test(format!("full::{}", attack.name), || at_full_lockdown(attack)));
    let had: Vec<Wall> = Wall::ALL
        .into_iter()
        .filter(|wall| tiers::is_had(*wall))
        .collect();
    let alone = ATTACKS.iter().flat_map(move |attack| {
        let had = had.clone();
        attack.alone.iter().map(move |wall| {
            let name = format!("alone::{wall}::{}", attack.name);
            Trial::test(name, || tiers::refused_by(*wall, attack)).with_ignored_flag(!had.contains(wall))
        })
    });
    full.chain(alone)
}

/// # Errors
/// When the attack ends in another way than it must.
pub fn at_full_lockdown(attack: &Attack) -> Result<(), Failed> {
    let (end, status) = Zygote::start("full", "native").call(attack.name);
    let signal = status & 0x7f;
    let as_it_must = match (attack.at_full, &end) {
        (Full::Killed, End::Died(_)) => signal == libc::SIGSYS,
        (Full::KilledOrFault, End::Died(_)) => [libc::SIGSYS, libc::SIGSEGV].contains(&signal),
        (Full::Refused, End::Result(answer)) => answer.starts_with('-'),
        (Full::Allowed, End::Result(answer)) => answer == "0",
        _ => false,
    };
    if as_it_must {
        return Ok(());
    }
    Err(format!("{}: {end:?}, wait status {status:#x}", attack.name).into())
}

/// What came of each attack at full lockdown and behind each wall that must refuse it alone.
#[expect(clippy::print_stdout, reason = "it is asked to")]
pub fn print_table() {
    for attack in ATTACKS {
        let told = |mode: &str| match Zygote::start(mode, "native").call(attack.name) {
            (End::Result(answer), _) => answer,
            (End::Died(status), _) if status & 0x7f == libc::SIGSYS => "killed".to_owned(),
            (other, _) => format!("{other:?}"),
        };
        let alone: Vec<String> = attack
            .alone
            .iter()
            .map(|wall| format!("{wall} {}", told(wall.as_str())))
            .collect();
        println!("| {} | {} | {} |", attack.name, told("full"), alone.join(", "));
    }
}

/// Six arguments at most; the missing ones are 0.
fn call(number: i64, arguments: &[i64]) -> i64 {
    let mut six = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = six;
    // SAFETY: none. This is an attack, in a process that is there to be ended.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer == -1 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(1));
    }
    answer
}

/// The 32-bit door.
fn int80() -> i64 {
    let mut answer: i64 = 20;
    // SAFETY: none, as above; 20 is getpid there, and has no arguments.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    answer
}

fn path(text: &str) -> i64 {
    CString::new(text).unwrap_or_default().into_raw() as i64
}

/// Memory that nobody else uses, all zeroes.
fn buffer() -> i64 {
    Box::leak(Box::new([0_u64; 512])).as_ptr() as i64
}

/// Eight bytes of it.
fn vector() -> i64 {
    Box::leak(Box::new([buffer(), 8])).as_ptr() as i64
}

fn page() -> i64 {
    (Box::leak(Box::new([0_u64; 1_536])).as_ptr() as i64 + 4_095) & !4_095
}

fn limits(most: u64) -> i64 {
    Box::leak(Box::new([most, most])).as_ptr() as i64
}
