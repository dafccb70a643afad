//! What runs in a child. There is one body in earnest; the tests put attacks in its place.

use crate::channel::Channel;

pub trait Body {
    /// In the zygote, before it makes children: whatever is expensive and the same for all of them.
    ///
    /// # Errors
    /// Says why no child could work.
    fn warm(&mut self, memory_bytes: u64) -> Result<(), String>;

    /// In a child, locked down. The child ends when this returns.
    fn serve(&mut self, channel: Channel) -> Exit;
}

/// How a child ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Panicked,
    /// One of its walls could not be put up, so it ran nothing.
    Unwalled,
}

impl Exit {
    pub const fn code(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Failed => 70,
            Self::Panicked => 71,
            Self::Unwalled => 72,
        }
    }
}
