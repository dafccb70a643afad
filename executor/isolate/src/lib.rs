//! A tool's code in a process of its own, locked down: a zygote that is warmed once, and a child of it for each call.
//!
//! ```text
//! broker (the executor) ──▶ zygote: nobody, own namespaces, empty root, no file, no secret; reads nothing of a caller's
//!                              └──▶ child: a copy of it, with one descriptor; locks itself down, then reads its call
//! ```
//!
//! The broker is not here: it is the executor's `isolate` module. What both sides say is in [`control`] and [`frame`],
//! the walls are in [`walls`], and the system calls that a child may make, with the reasons, in [`syscalls`].
//!
//! All of it is Linux's own. Elsewhere there are only the names of the walls, for whoever reads a configuration.

#[cfg(target_os = "linux")]
pub mod body;
#[cfg(target_os = "linux")]
pub mod channel;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod children;
#[cfg(target_os = "linux")]
mod constants;
#[cfg(target_os = "linux")]
pub mod control;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
pub mod frame;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(target_os = "linux")]
mod lockdown;
#[cfg(target_os = "linux")]
pub mod script;
#[cfg(target_os = "linux")]
mod selftest;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
pub mod syscalls;
pub mod walls;
#[cfg(target_os = "linux")]
mod zygote;

#[cfg(target_os = "linux")]
use body::Body;
#[cfg(target_os = "linux")]
use syscalls::Allowed;

/// The one argument with which a program is started as a zygote. Its control socket is its standard input.
pub const ZYGOTE_ARGUMENT: &str = "--dynamic-mcp-isolate-zygote";

/// Which walls a zygote puts up. There is one value in earnest.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone)]
pub struct Walls {
    /// The system calls that children may make; `None`: no filter.
    pub allowed: Option<Vec<Allowed>>,
    pub landlock: bool,
    pub namespaces: bool,
    pub capabilities: bool,
    pub limits: bool,
}

#[cfg(target_os = "linux")]
impl Walls {
    pub fn all() -> Self {
        Self {
            allowed: Some(syscalls::CHILD.to_vec()),
            landlock: true,
            namespaces: true,
            capabilities: true,
            limits: true,
        }
    }

    pub fn none() -> Self {
        Self {
            allowed: None,
            landlock: false,
            namespaces: false,
            capabilities: false,
            limits: false,
        }
    }
}

/// The first thing that a program does which starts zygotes of itself. Returns at once, unless this process is one: then
/// it never does.
#[cfg(target_os = "linux")]
pub fn enter() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ZYGOTE_ARGUMENT)
    {
        enter_with(&Walls::all(), &mut script::Script::default());
    }
}

/// No process is one here.
#[cfg(not(target_os = "linux"))]
pub fn enter() {}

/// Makes this process, which was started as one, a zygote with these walls and this body.
#[cfg(target_os = "linux")]
pub fn enter_with(walls: &Walls, body: &mut dyn Body) -> ! {
    zygote::main(walls, body)
}
