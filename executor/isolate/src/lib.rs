//! A tool's code in a process of its own, locked down: a zygote that is warmed once, and a child of it for each call.
//!
//! ```text
//! broker (the executor) ──▶ zygote: nobody, own namespaces, empty root, no file, no secret; reads nothing of a caller's
//!                              └──▶ child: a copy of it, with one descriptor; locks itself down, then reads its call
//! ```
//!
//! The broker is not here: it is the executor's `isolate` module. What both sides say is in [`control`] and [`frame`],
//! the walls are in [`walls`], and the system calls that a child may make, with the reasons, in [`syscalls`].

pub mod body;
pub mod channel;
mod child;
mod children;
pub mod control;
mod filter;
pub mod frame;
mod lockdown;
pub mod script;
mod selftest;
mod start;
mod sys;
pub mod syscalls;
pub mod walls;
mod zygote;

use body::Body;
use syscalls::Allowed;

/// The one argument with which a program is started as a zygote. Its control socket is its standard input.
pub const ZYGOTE_ARGUMENT: &str = "--dynamic-mcp-isolate-zygote";

/// Which walls a zygote puts up. There is one value in earnest.
#[derive(Debug, Clone)]
pub struct Walls {
    /// The system calls that children may make; `None`: no filter.
    pub allowed: Option<Vec<Allowed>>,
    pub landlock: bool,
    pub namespaces: bool,
    pub capabilities: bool,
    pub limits: bool,
}

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
pub fn enter() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ZYGOTE_ARGUMENT)
    {
        enter_with(&Walls::all(), &mut script::Script::default());
    }
}

/// Makes this process, which was started as one, a zygote with these walls and this body.
pub fn enter_with(walls: &Walls, body: &mut dyn Body) -> ! {
    zygote::main(walls, body)
}
