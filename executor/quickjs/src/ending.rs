//! How a call can end.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// JSON text.
    Result(String),
    /// The code threw. The realm may be used again.
    Threw(ErrorReport),
    /// A rejection that nothing handled, or a throw from a timer's callback. The realm is not to be used again.
    Uncaught(ErrorReport),
    /// It returned something that JSON can't hold, or too much of it.
    InvalidOutput(String),
    /// Its promise can never settle: no job and no timer is left.
    NothingLeft,
    /// The engine's memory limit was met.
    OutOfMemory,
    /// [`crate::Host::interrupted`] said so.
    Interrupted,
}

/// Each field has at most 16,384 UTF-16 units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorReport {
    pub name: String,
    pub message: String,
    /// As Node.js lays it out, with positions in the author's own lines (`tool.mjs:1:7`).
    pub stack: String,
}
