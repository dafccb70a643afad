//! Sandbox sessions as the control plane knows them: whose they are, where they live and what may be done with them.
//!
//! ```text
//! claim ──▶ opening ──▶ open ──▶ ended
//!              │          │ its executor says that it has it, every few seconds
//!              └─ never settled: ended, and stopped on the executor that made it
//! ```
//!
//! The truth of a session is in its executor. The [`Directory`] only says which one that is, to every replica, and is filled
//! again by what executors announce. A session belongs to its tenant and subject: to anybody else it never existed.

mod announcements;
mod directory;
mod error;
mod files;
mod home;
mod owner;
mod sandboxes;
mod session;

pub use self::announcements::Announcements;
pub use self::directory::{
    Announced, Claim, Directory, DirectoryLost, Found, MemoryDirectory, Most, RedisDirectory, Times,
};
pub use self::error::SandboxError;
pub use self::files::{
    FileEntry, FileKind, FileLimits, FileProblem, FileProblemKind, Listing, NewFile, ReadFile, Written,
};
pub use self::owner::Owner;
pub use self::sandboxes::{SandboxConfig, Sandboxes, Wanted};
pub use self::session::{Home, Session};
