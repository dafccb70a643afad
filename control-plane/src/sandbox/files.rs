//! Files of a session, as they go in and come out.

use bytes::Bytes;
pub use dynamic_mcp_shared::files::{FileKind, FileProblemKind};
use serde::Serialize;

/// A file that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Relative to /workspace, or beginning with it.
    pub path: String,
    pub content: Bytes,
    /// Permission bits; `None`: 0644.
    pub mode: Option<u32>,
}

/// What may be moved in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Of one file.
    pub max_file_bytes: u64,
    /// Of all files of one call.
    pub max_total_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Absolute.
    pub path: String,
    pub kind: FileKind,
    pub size_bytes: u64,
    pub modified_ms: i64,
    pub mode: u32,
}

/// A file that could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    pub path: String,
    pub kind: FileProblemKind,
    pub message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub written: Vec<FileEntry>,
    pub problems: Vec<FileProblem>,
}

/// One of the files that were asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum ReadFile {
    Read { entry: FileEntry, content: Bytes },
    Problem(FileProblem),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<FileEntry>,
    /// There are more than were asked for.
    pub truncated: bool,
    pub problem: Option<FileProblem>,
}
