//! From the fork to the end of one child: it leaves everything behind, locks itself down, says that it is ready, and
//! reads its first byte only then.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use rustix::thread::{CapabilitySet, ClockId, NanosleepRelativeResult, Timespec};
use seccompiler::BpfProgram;

use crate::body::{Body, Exit};
use crate::channel::Channel;
use crate::frame::Kind;
use crate::lockdown::{self, Bounds};
use crate::sys;

/// What is put up around each child. Made once, in the zygote.
#[derive(Clone)]
pub struct Enclosure {
    pub bounds: Option<Bounds>,
    pub landlock: bool,
    pub capabilities: bool,
    pub filter: Option<BpfProgram>,
}

impl Enclosure {
    /// # Errors
    /// The wall that could not be put up.
    pub fn close(&self) -> Result<(), String> {
        lockdown::give_way()?;
        if self.landlock {
            lockdown::landlock()?;
        }
        if self.capabilities {
            lockdown::keep_capabilities(CapabilitySet::empty())?;
        }
        if let Some(bounds) = &self.bounds {
            lockdown::limit(bounds)?;
        }
        if let Some(filter) = &self.filter {
            lockdown::filter(filter)?;
        }
        Ok(())
    }
}

/// Runs in the process that was forked for it, and ends it.
pub fn run(channel: OwnedFd, enclosure: &Enclosure, body: &mut dyn Body) -> ! {
    let exit = match enclosed(channel, enclosure) {
        Some(file) => serve(file, body),
        None => Exit::Unwalled,
    };
    sys::exit(exit.code())
}

fn enclosed(channel: OwnedFd, enclosure: &Enclosure) -> Option<File> {
    die_with_parent().ok()?;
    // Its words would go to a descriptor that is not there, which a filter answers with death.
    std::panic::set_hook(Box::new(|_| sys::exit(Exit::Panicked.code())));
    let file = sys::keep_only(channel).ok()?;
    enclosure.close().ok()?;
    Some(file)
}

fn serve(file: File, body: &mut dyn Body) -> Exit {
    let mut channel = Channel::new(file);
    if channel.send(Kind::Ready, &[]).is_err() {
        return Exit::Failed;
    }
    body.serve(channel)
}

/// In a process namespace its end does that; where there is none, this does.
pub fn die_with_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// By the one clock and in the one way that the filter allows.
pub fn sleep(duration: Duration) {
    let Ok(request) = Timespec::try_from(duration) else {
        return;
    };
    match rustix::thread::clock_nanosleep_relative(ClockId::Monotonic, &request) {
        NanosleepRelativeResult::Ok
        | NanosleepRelativeResult::Interrupted(_)
        | NanosleepRelativeResult::Err(_) => {}
    }
}
