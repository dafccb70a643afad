//! Finds out which walls hold by running into them: children that are walled in like any other try what must be refused.
//! Not by asking the kernel for its version, for a container, a security module or a sandboxed kernel may say otherwise.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::UdpSocket;

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::child::Enclosure;
use crate::lockdown::Bounds;
use crate::sys::{self, Ended, Forked};
use crate::walls::{Finding, Wall};

/// Where a test child that could not be walled in says why. Made before the zygote has its filter, which lets nobody
/// make one.
pub struct Reasons {
    read: PipeReader,
    write: PipeWriter,
}

impl Reasons {
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> Result<Self, String> {
        let pipe = io::pipe().and_then(|(read, write)| {
            rustix::io::ioctl_fionbio(&read, true)?;
            Ok(Self { read, write })
        });
        pipe.map_err(|error| format!("pipe: {error}"))
    }

    /// In the test child. The exit code that goes with it.
    fn unwalled(&self, why: &str) -> i32 {
        let _nobody_hears = (&self.write).write_all(&why.as_bytes()[..why.len().min(MAX_REASON)]);
        UNWALLED
    }

    /// Of a test child that ended as [`UNWALLED`].
    fn heard(&self) -> String {
        let mut buffer = [0; MAX_REASON];
        let bytes = (&self.read).read(&mut buffer).unwrap_or(0);
        let why = String::from_utf8_lossy(&buffer[..bytes]);
        format!("it could not be put up: {why}")
    }
}

/// Of one reason: what a pipe takes whole.
const MAX_REASON: usize = 400;

/// Of a test child: the first attempt that was not refused, counted from one.
type Attempt = (&'static str, fn() -> bool);

/// What only namespaces with an empty root refuse a process that has no other wall.
const PAST_NAMESPACES: &[Attempt] = &[
    ("there is something in the root", || {
        fs::read_dir("/").is_ok_and(|entries| entries.count() > 0)
    }),
    ("/proc can be opened", || {
        fs::File::open("/proc/self/status").is_ok()
    }),
    ("the parent process can be seen", || {
        nix::unistd::getppid().as_raw() != 0
    }),
    ("other processes can be seen", || {
        nix::unistd::getpid().as_raw() != 1
    }),
    ("there is a network", || {
        UdpSocket::bind("0.0.0.0:0").is_ok_and(|socket| socket.connect("127.0.0.1:9").is_ok())
    }),
    ("a file can be written", || fs::write("/x", "x").is_ok()),
];

const PAST_LANDLOCK: &[Attempt] = &[
    ("the root can be opened", || fs::read_dir("/").is_ok()),
    ("a file can be made", || {
        ["/x", "/tmp/x"].iter().any(|path| fs::write(path, "x").is_ok())
    }),
];

const PAST_CAPABILITIES: &[Attempt] = &[
    ("a capability is left", || {
        rustix::thread::capabilities(None).is_ok_and(|sets| !(sets.permitted | sets.effective).is_empty())
    }),
    ("a capability can be had back", || {
        let sets = CapabilitySets {
            effective: CapabilitySet::SYS_ADMIN,
            permitted: CapabilitySet::SYS_ADMIN,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets).is_ok()
    }),
    ("something can be mounted", || {
        mount(Some("none"), "/", Some("tmpfs"), MsFlags::empty(), None::<&str>).is_ok()
    }),
    ("the host can be renamed", || {
        nix::unistd::sethostname("other").is_ok()
    }),
];

const PAST_LIMITS: &[Attempt] = &[
    ("a limit can be raised", || {
        setrlimit(Resource::RLIMIT_NOFILE, 64, 64).is_ok()
    }),
    ("a process can be made", || match sys::fork(0) {
        Ok(Forked::Child) => sys::exit(0),
        Ok(Forked::Parent { .. }) => true,
        Err(_) => false,
    }),
    ("a descriptor can be had", || UdpSocket::bind("0.0.0.0:0").is_ok()),
    ("it does not give way", || {
        rustix::process::setpriority_process(None, 0).is_ok()
    }),
];

const PAST_USER: &[Attempt] = &[
    ("it is root", || nix::unistd::geteuid().is_root()),
    ("it can become root", || {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_ok()
    }),
];

/// Everything but the filter, in a zygote that has none yet. `fork_flags` are those of its real children.
pub fn beside_the_filter(
    namespaces: Result<(), String>,
    bounds: Bounds,
    fork_flags: i32,
    reasons: &Reasons,
) -> Vec<Finding> {
    let bare = Enclosure {
        bounds: None,
        landlock: false,
        capabilities: false,
        filter: None,
    };
    let landlock = Enclosure {
        landlock: true,
        ..bare.clone()
    };
    let capabilities = Enclosure {
        capabilities: true,
        ..bare.clone()
    };
    let limits = Enclosure {
        bounds: Some(bounds),
        ..capabilities.clone()
    };
    let tried = |enclosure: &Enclosure, attempts| try_all(enclosure, attempts, fork_flags, reasons);
    vec![
        Finding::new(Wall::Landlock, tried(&landlock, PAST_LANDLOCK)),
        Finding::new(
            Wall::Namespaces,
            namespaces.and_then(|()| tried(&bare, PAST_NAMESPACES)),
        ),
        Finding::new(Wall::Capabilities, tried(&capabilities, PAST_CAPABILITIES)),
        Finding::new(Wall::Limits, tried(&limits, PAST_LIMITS)),
        Finding::new(Wall::User, tried(&capabilities, PAST_USER)),
    ]
}

/// The filter, with everything else as it is for every child: one child must live, and one that makes a socket must die.
pub fn the_filter(enclosure: &Enclosure, fork_flags: i32, reasons: &Reasons) -> Finding {
    let finding = |found| Finding::new(Wall::Seccomp, found);
    if enclosure.filter.is_none() {
        return finding(Err("it was left out".to_owned()));
    }
    let quiet = child(fork_flags, || closed(enclosure, reasons));
    let loud = child(fork_flags, || {
        let code = closed(enclosure, reasons);
        // A call that the filter doesn't know.
        let _dead = UdpSocket::bind("0.0.0.0:0");
        code
    });
    finding(match (quiet, loud) {
        (Ok(quiet), Ok(loud)) if quiet.status == 0 && signal(&loud) == Some(libc::SIGSYS) => Ok(()),
        (Ok(quiet), _) if is_unwalled(&quiet) => Err(reasons.heard()),
        (Ok(quiet), _) if quiet.status != 0 => Err(format!(
            "a child that does nothing forbidden ended with status {:#x}",
            quiet.status
        )),
        (Ok(_), Ok(loud)) => Err(format!(
            "a child that makes a socket ended with status {:#x}",
            loud.status
        )),
        (Err(error), _) | (_, Err(error)) => Err(error),
    })
}

/// The exit code of a test child whose walls could not be put up.
const UNWALLED: i32 = 100;

fn closed(enclosure: &Enclosure, reasons: &Reasons) -> i32 {
    enclosure
        .close()
        .map_or_else(|why| reasons.unwalled(&why), |()| 0)
}

/// Whether a test child could not be walled in.
fn is_unwalled(ended: &Ended) -> bool {
    signal(ended).is_none() && libc::WEXITSTATUS(ended.status) == UNWALLED
}

fn try_all(
    enclosure: &Enclosure,
    attempts: &[Attempt],
    fork_flags: i32,
    reasons: &Reasons,
) -> Result<(), String> {
    let ended = child(fork_flags, || {
        if let Err(why) = enclosure.close() {
            return reasons.unwalled(&why);
        }
        let through = attempts.iter().position(|(_, attempt)| attempt());
        through.map_or(0, |index| i32::try_from(index).unwrap_or(0) + 1)
    })?;
    let code = libc::WEXITSTATUS(ended.status);
    if signal(&ended).is_some() {
        return Err(format!("the test child died with status {:#x}", ended.status));
    }
    if is_unwalled(&ended) {
        return Err(reasons.heard());
    }
    match usize::try_from(code - 1)
        .ok()
        .and_then(|index| attempts.get(index))
    {
        Some((through, _)) => Err((*through).to_owned()),
        None => Ok(()),
    }
}

fn signal(ended: &Ended) -> Option<i32> {
    libc::WIFSIGNALED(ended.status).then(|| libc::WTERMSIG(ended.status))
}

fn child(fork_flags: i32, act: impl FnOnce() -> i32) -> Result<Ended, String> {
    match sys::fork(fork_flags).map_err(|error| format!("clone: {error}"))? {
        Forked::Child => sys::exit(act()),
        Forked::Parent { .. } => {
            let ended = sys::wait_for_any().map_err(|error| format!("wait: {error}"))?;
            ended.ok_or_else(|| "the test child was lost".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_put_up_says_why() {
        let reasons = Reasons::new().unwrap();
        assert_eq!(reasons.unwalled("seccomp: EINVAL"), UNWALLED);
        assert_eq!(reasons.heard(), "it could not be put up: seccomp: EINVAL");
        // Nobody waits for a reason that was not given.
        assert_eq!(reasons.heard(), "it could not be put up: ");
        assert_eq!(reasons.unwalled(&"x".repeat(100_000)), UNWALLED);
    }
}
