//! What the engine asks of the process it runs in.

use std::cell::{Cell, RefCell};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

pub trait Host {
    /// One line of the console's, with its newline. Not buffered here.
    fn print(&mut self, stream: Stream, bytes: &[u8]);

    /// JSON of the form `{"progress":1,"total":2,"message":"text"}`; the last two may be missing.
    fn progress(&mut self, json: &str);

    /// Asked again and again while code runs. `true` ends the code for good: it can't be caught, and is not asked again.
    fn interrupted(&mut self) -> bool;

    /// Called when nothing is left to do before the next timer, which is due after `duration`. May return early.
    fn sleep(&mut self, duration: Duration);

    /// Fills `bytes` with random bytes fit for keys.
    fn random(&mut self, bytes: &mut [u8]);
}

/// The host as the engine's callbacks reach it: there is none while a realm is warmed, and once it has interrupted the
/// code it stays so.
#[derive(Default)]
pub(crate) struct HostCell {
    host: RefCell<Option<Box<dyn Host>>>,
    interrupted: Cell<bool>,
}

impl HostCell {
    pub(crate) fn set(&self, host: Box<dyn Host>) {
        *self.host.borrow_mut() = Some(host);
    }

    /// Does nothing without a host, and when a host's own method leads back here.
    pub(crate) fn with(&self, act: impl FnOnce(&mut dyn Host)) {
        if let Ok(mut host) = self.host.try_borrow_mut()
            && let Some(host) = host.as_deref_mut()
        {
            act(host);
        }
    }

    pub(crate) fn poll_interrupt(&self) -> bool {
        if !self.interrupted.get() {
            self.with(|host| self.interrupted.set(host.interrupted()));
        }
        self.interrupted.get()
    }
}
