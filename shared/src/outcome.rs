//! What became of a call. An outcome is a value that the caller is told; an error of ours is something else.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// The code threw, or ended its process by itself.
    Threw,
    TimedOut,
    OutOfMemory,
    Cancelled,
    /// The arguments did not fit the tool's schema; nothing ran.
    InvalidInput,
    /// The result was not JSON, was too large, or did not fit the tool's output schema.
    InvalidOutput,
    /// Nothing of the user's code ran, on any node.
    NeverStarted,
    /// It may have run, wholly or in part, and nobody knows how it ended.
    Interrupted,
}

impl Outcome {
    pub const ALL: [Outcome; 9] = [
        Outcome::Ok,
        Outcome::Threw,
        Outcome::TimedOut,
        Outcome::OutOfMemory,
        Outcome::Cancelled,
        Outcome::InvalidInput,
        Outcome::InvalidOutput,
        Outcome::NeverStarted,
        Outcome::Interrupted,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Threw => "threw",
            Outcome::TimedOut => "timed_out",
            Outcome::OutOfMemory => "out_of_memory",
            Outcome::Cancelled => "cancelled",
            Outcome::InvalidInput => "invalid_input",
            Outcome::InvalidOutput => "invalid_output",
            Outcome::NeverStarted => "never_started",
            Outcome::Interrupted => "interrupted",
        }
    }

    pub const fn is_ok(self) -> bool {
        matches!(self, Outcome::Ok)
    }

    /// Whether a container in which a job ended this way may serve another call of the same tool.
    pub const fn leaves_container_usable(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::Threw | Outcome::InvalidOutput)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
