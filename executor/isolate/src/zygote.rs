//! The process that children are copies of. It is started by the broker, walls itself in, warms what they share, and
//! then does three things: makes a child when it is told to, kills one, and tells how each ended.
//!
//! ```text
//! broker ──exec──▶ keeper ──fork──▶ zygote ──clone──▶ child
//!                  waits, so that nothing is left        one for each call
//! ```

use std::hash::RandomState;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::CapabilitySet;
use seccompiler::BpfProgram;

use crate::Walls;
use crate::body::Body;
use crate::child::{self, Enclosure};
use crate::children::Children;
use crate::constants;
use crate::control::{self, Answer, Request, Settings};
use crate::filter;
use crate::heap;
use crate::lockdown::{self, Bounds};
use crate::selftest::{self, Reasons};
use crate::start;
use crate::sys::{self, Forked};
use crate::syscalls::{FORK_APART, FORK_BESIDE, ZYGOTE};
use crate::walls::Wall;

/// The zygote's end of the control socket.
const CONTROL: i32 = 0;
const FAILED: i32 = 1;

/// What a process becomes that was started as a zygote. Never returns.
pub fn main(walls: &Walls, body: &mut dyn Body) -> ! {
    let control = sys::inherited(CONTROL);
    let ended = become_one(&control, walls, body);
    if let Err((wall, why)) = &ended {
        let refused = Answer::Refused {
            wall: *wall,
            why: why.clone(),
        };
        let _gone = control::answer(control.as_fd(), &refused);
    }
    sys::exit(if ended.is_ok() { 0 } else { FAILED })
}

type Refusal = (Wall, String);

fn become_one(control: &OwnedFd, walls: &Walls, body: &mut dyn Body) -> Result<(), Refusal> {
    let user = |why: String| (Wall::User, why);
    let step = |name: &'static str| move |error: nix::Error| (Wall::User, format!("{name}: {error}"));
    sys::close_from(sys::CHANNEL).map_err(|error| user(error.to_string()))?;
    sys::reset_signals().map_err(step("signals"))?;
    child::die_with_parent().map_err(step("PR_SET_PDEATHSIG"))?;
    let Ok(Some((Request::Configure(settings), _))) = control::receive_request(control.as_fd()) else {
        return Err(user("the broker did not say what to be".to_owned()));
    };
    let bounds = Bounds::new(start::mapped_bytes(), settings.memory_bytes, settings.cpu_seconds);
    start::volunteer_for_oom();
    constants::share();
    sys::set_time_zone("UTC");
    start::become_nobody().map_err(user)?;
    let namespaces = if settings.namespaces && walls.namespaces {
        start::own_namespaces().map_err(|why| (Wall::Namespaces, why))?;
        true
    } else {
        false
    };
    keep(|| Zygote::grow(control, walls, body, &settings, bounds, namespaces)?.serve(body))
}

/// Goes on in a fork of this process, which in a new process namespace is its first; and waits here until that one and
/// all it has left behind are gone. SIGTERM makes that soon.
fn keep(zygote: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
    let system = |error: nix::Error| (Wall::User, error.to_string());
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGTERM);
    watched.add(Signal::SIGCHLD);
    watched.thread_block().map_err(system)?;
    // Without a process namespace, children of a zygote that has died come here; where the kernel doesn't know how, they
    // still end, and whoever is first in the container takes them away.
    let _unknown = prctl::set_child_subreaper(true);
    let forked = sys::fork(0).map_err(|error| (Wall::Namespaces, format!("fork: {error}")))?;
    let Forked::Parent { pid } = forked else {
        child::die_with_parent().map_err(system)?;
        return zygote();
    };
    // Otherwise the broker would not see the zygote's end.
    let _unlikely = sys::close_from(CONTROL);
    let _unlikely = lockdown::keep_capabilities(CapabilitySet::empty());
    loop {
        match watched.wait() {
            Ok(Signal::SIGTERM) => {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            _ => {
                while let Ok(Some(_)) = sys::reap() {}
                if sys::reap().is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD)) {
                    sys::exit(0);
                }
            }
        }
    }
}

struct Zygote<'a> {
    control: &'a OwnedFd,
    ended: SignalFd,
    enclosure: Enclosure,
    fork_flags: i32,
    children: Children,
}

impl<'a> Zygote<'a> {
    fn grow(
        control: &'a OwnedFd,
        walls: &Walls,
        body: &mut dyn Body,
        settings: &Settings,
        bounds: Bounds,
        namespaces: bool,
    ) -> Result<Self, Refusal> {
        let user = |why: String| (Wall::User, why);
        body.warm(settings.memory_bytes).map_err(user)?;
        // The standard library draws a thread's hash keys once, in a way that no child may.
        let _drawn = RandomState::new();
        heap::use_up_gaps();
        start::seal().map_err(user)?;
        let fork_flags = if namespaces { libc::CLONE_NEWPID } else { 0 };
        let inside = if namespaces {
            Ok(())
        } else {
            Err("the zygote has none of its own".to_owned())
        };
        let reasons = Reasons::new().map_err(user)?;
        let mut findings = selftest::beside_the_filter(inside, bounds, fork_flags, &reasons);
        let holds = |wall: Wall| findings.iter().any(|found| found.wall == wall && found.holds());
        let enclosure = Enclosure {
            bounds: walls.limits.then_some(bounds),
            landlock: walls.landlock && holds(Wall::Landlock),
            capabilities: walls.capabilities,
            filter: child_filter(walls).map_err(|why| (Wall::Seccomp, why))?,
        };
        if !namespaces {
            lockdown::keep_capabilities(CapabilitySet::empty()).map_err(user)?;
        }
        let mut watched = SigSet::empty();
        watched.add(Signal::SIGCHLD);
        let ended = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| user(error.to_string()))?;
        if walls.allowed.is_some() {
            own_filter(walls, namespaces).map_err(|why| (Wall::Seccomp, why))?;
        }
        findings.insert(0, selftest::the_filter(&enclosure, fork_flags, &reasons));
        let hello = Answer::Hello { findings };
        control::answer(control.as_fd(), &hello).map_err(|error| user(error.to_string()))?;
        Ok(Self {
            control,
            ended,
            enclosure,
            fork_flags,
            children: Children::default(),
        })
    }

    /// Until the broker is gone. What still runs then ends with this process.
    fn serve(mut self, body: &mut dyn Body) -> Result<(), Refusal> {
        loop {
            let (asked, ended) = match self.wait() {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            if ended && self.reap().is_err() {
                break;
            }
            if asked && !self.obey(body).unwrap_or(false) {
                break;
            }
        }
        self.children.kill_all();
        Ok(())
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut descriptors = [
            PollFd::new(self.control, PollFlags::IN),
            PollFd::new(&self.ended, PollFlags::IN),
        ];
        poll(&mut descriptors, None)?;
        let [control, ended] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
        Ok((control, ended))
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some(_)) = self.ended.read_signal() {}
        while let Ok(Some(ended)) = sys::reap() {
            let Some(id) = self.children.take(ended.pid) else {
                continue;
            };
            let exited = Answer::Exited {
                id,
                status: ended.status,
                max_rss_kib: ended.max_rss_kib,
            };
            control::answer(self.control.as_fd(), &exited)?;
        }
        Ok(())
    }

    /// Whether the broker is still there.
    fn obey(&mut self, body: &mut dyn Body) -> io::Result<bool> {
        match control::receive_request(self.control.as_fd())? {
            None => return Ok(false),
            Some((Request::Spawn { id }, Some(channel))) => self.spawn(id, channel, body)?,
            Some((Request::Kill { id }, _)) => self.children.kill(id),
            Some((Request::Count { id }, _)) => self.children.count(id),
            Some((Request::Weigh { id }, _)) => {
                if self.children.weigh(id) {
                    control::answer(self.control.as_fd(), &Answer::GaveWay { id })?;
                }
            }
            Some(_) => {}
        }
        Ok(true)
    }

    fn spawn(&mut self, id: u64, channel: OwnedFd, body: &mut dyn Body) -> io::Result<()> {
        match sys::fork(self.fork_flags) {
            Ok(Forked::Child) => child::run(channel, &self.enclosure, body),
            Ok(Forked::Parent { pid }) => {
                self.children.add(pid, id);
                Ok(())
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
                control::answer(self.control.as_fd(), &Answer::Failed { id, errno })
            }
        }
    }
}

fn child_filter(walls: &Walls) -> Result<Option<BpfProgram>, String> {
    let allowed = walls.allowed.as_deref();
    allowed.map(filter::program).transpose()
}

/// A superset of the children's, for a filter can only ever be narrowed.
fn own_filter(walls: &Walls, namespaces: bool) -> Result<(), String> {
    let fork = if namespaces { FORK_APART } else { FORK_BESIDE };
    let children = walls.allowed.iter().flatten();
    let program = filter::program(children.chain(ZYGOTE).chain([&fork]))?;
    lockdown::filter(&program)
}
