//! The system calls that a child may make, each with the reason why it can't do without. A row more is a security
//! review; a row less breaks a test.

use libc::c_long;

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    Is(u8, u64),
}

/// One call that is allowed, if all its arguments are as said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    pub name: &'static str,
    pub number: c_long,
    pub when: &'static [Argument],
    pub why: &'static str,
}

use Argument::Is;

const CHANNEL: u64 = crate::sys::CHANNEL as u64;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const PRIVATE_ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
const MAY_MOVE: u64 = libc::MREMAP_MAYMOVE as u64;
const ONE_PROCESS: u64 = libc::PRIO_PROCESS as u64;
const MONOTONIC: u64 = libc::CLOCK_MONOTONIC as u64;

/// Of a child, from the moment it is locked down.
pub const CHILD: &[Allowed] = &[
    Allowed {
        name: "read",
        number: libc::SYS_read,
        when: &[Is(0, CHANNEL)],
        why: "the call comes over the channel, and nothing else is open",
    },
    Allowed {
        name: "write",
        number: libc::SYS_write,
        when: &[Is(0, CHANNEL)],
        why: "output, progress and the result go over the channel",
    },
    Allowed {
        name: "getrandom",
        number: libc::SYS_getrandom,
        when: &[Is(2, 0)],
        why: "each child draws its own seed, and `crypto` more of it",
    },
    Allowed {
        name: "brk",
        number: libc::SYS_brk,
        when: &[],
        why: "the allocator's small memory",
    },
    Allowed {
        name: "mmap",
        number: libc::SYS_mmap,
        when: &[Is(2, READ_WRITE), Is(3, PRIVATE_ANONYMOUS)],
        why: "the allocator's large memory: never shared, never of a file, never executable",
    },
    Allowed {
        name: "munmap",
        number: libc::SYS_munmap,
        when: &[],
        why: "gives large memory back",
    },
    Allowed {
        name: "mremap",
        number: libc::SYS_mremap,
        when: &[Is(3, MAY_MOVE)],
        why: "a large buffer that grows; its protection stays as it was",
    },
    Allowed {
        name: "clock_nanosleep",
        number: libc::SYS_clock_nanosleep,
        when: &[Is(0, MONOTONIC), Is(1, 0)],
        why: "timers wait without burning the processor",
    },
    Allowed {
        name: "clock_gettime",
        number: libc::SYS_clock_gettime,
        when: &[],
        why: "the time, where the machine's clock can't be read from user space",
    },
    Allowed {
        name: "gettimeofday",
        number: libc::SYS_gettimeofday,
        when: &[],
        why: "the engine's `Date`, where the machine's clock can't be read from user space",
    },
    Allowed {
        name: "exit_group",
        number: libc::SYS_exit_group,
        when: &[],
        why: "the end of the call",
    },
];

/// What the zygote needs beside [`CHILD`], and a child until it is locked down.
pub const ZYGOTE: &[Allowed] = &[
    any(libc::SYS_read, "read", "the signals of ended children"),
    any(libc::SYS_write, "write", "a panic's words, to the broker's log"),
    #[cfg(target_arch = "x86_64")]
    any(
        libc::SYS_poll,
        "poll",
        "waits for the broker and for ended children",
    ),
    any(
        libc::SYS_ppoll,
        "ppoll",
        "waits for the broker and for ended children",
    ),
    any(
        libc::SYS_recvmsg,
        "recvmsg",
        "a request and the child's end of its channel",
    ),
    any(libc::SYS_sendto, "sendto", "an answer to the broker"),
    any(libc::SYS_sendmsg, "sendmsg", "an answer to the broker"),
    any(libc::SYS_wait4, "wait4", "takes ended children away"),
    Allowed {
        name: "kill",
        number: libc::SYS_kill,
        when: &[Is(1, libc::SIGKILL as u64)],
        why: "ends a child at its deadline",
    },
    any(
        libc::SYS_close,
        "close",
        "a child's end of its channel, once the child has it",
    ),
    any(
        libc::SYS_fcntl,
        "fcntl",
        "the standard library's check of a descriptor before it is closed",
    ),
    any(libc::SYS_dup3, "dup3", "a child's channel becomes descriptor 3"),
    any(
        libc::SYS_close_range,
        "close_range",
        "a child closes everything else",
    ),
    any(
        libc::SYS_rt_sigprocmask,
        "rt_sigprocmask",
        "a child's signals are as they were",
    ),
    Allowed {
        name: "setpriority",
        number: libc::SYS_setpriority,
        when: &[Is(0, ONE_PROCESS), Is(2, crate::lockdown::NICE as u64)],
        why: "a child gives way",
    },
    Allowed {
        name: "setpriority",
        number: libc::SYS_setpriority,
        when: &[Is(0, ONE_PROCESS), Is(2, crate::lockdown::NICEST as u64)],
        why: "a child whose call is long gives way to all others",
    },
    Allowed {
        name: "sched_setscheduler",
        number: libc::SYS_sched_setscheduler,
        when: &[Is(1, libc::SCHED_IDLE as u64)],
        why: "a child whose call is long runs only while no other wants to",
    },
    any(libc::SYS_prlimit64, "prlimit64", "a child's limits"),
    any(libc::SYS_prctl, "prctl", "a child dies with its zygote"),
    any(libc::SYS_capget, "capget", "what is there to be given up"),
    any(libc::SYS_capset, "capset", "a child gives up the last capability"),
    any(
        libc::SYS_landlock_create_ruleset,
        "landlock_create_ruleset",
        "a child's own domain",
    ),
    any(
        libc::SYS_landlock_restrict_self,
        "landlock_restrict_self",
        "a child's own domain",
    ),
    any(libc::SYS_seccomp, "seccomp", "a child's own, narrower filter"),
    any(
        libc::SYS_sigaltstack,
        "sigaltstack",
        "the standard library's, when a process ends",
    ),
    any(libc::SYS_mprotect, "mprotect", "the allocator's"),
];

/// How a zygote makes children: in a process namespace of their own where it can.
pub const FORK_APART: Allowed = Allowed {
    when: &[Is(0, (libc::CLONE_NEWPID | libc::SIGCHLD) as u64)],
    ..FORK
};
pub const FORK_BESIDE: Allowed = Allowed {
    when: &[Is(0, libc::SIGCHLD as u64)],
    ..FORK
};
const FORK: Allowed = any(libc::SYS_clone, "clone", "makes a child, and nothing but a child");

const fn any(number: c_long, name: &'static str, why: &'static str) -> Allowed {
    Allowed {
        name,
        number,
        when: &[],
        why,
    }
}
