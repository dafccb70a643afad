//! What is wrong with this side's own files, by the setting that names the file, with what to do about it.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::args::{CA_FILE, CERT_FILE, KEY_FILE};
use super::identity::{Identity, Role};

#[derive(Debug, thiserror::Error)]
#[error("{setting}: {}: {problem}", path.display())]
pub struct TlsError {
    pub setting: &'static str,
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("can't be read: {0}")]
    Unreadable(std::io::Error),
    #[error("holds no {0} in PEM")]
    Empty(&'static str),
    #[error("is not in PEM: {0}")]
    NotPem(String),
    #[error("holds what this program can't use: {0}")]
    Unusable(String),
    #[error("is not the key of the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    #[error("is not of an authority in {}: {why}", .ca.display())]
    OtherAuthority { ca: PathBuf, why: String },
    #[error("expired at {when}; make another one: {command} --force")]
    Expired { when: DateTime<Utc>, command: String },
    #[error("is good from {0} on, and it is not that time yet: look at this machine's clock")]
    NotYet(DateTime<Utc>),
    #[error("does not say whose it is: {why}; make one that does: {command}")]
    NoIdentity { why: String, command: &'static str },
    #[error("is {found}'s, and here it must be {wanted}'s: {command}")]
    WrongRole {
        found: Identity,
        wanted: Role,
        command: &'static str,
    },
    #[error("is {found}'s, and this process has begun as {wanted}: start it anew to change that")]
    OtherIdentity { found: Identity, wanted: Identity },
    #[error(
        "is good for {known}, and not for {host}, where others reach this process: {command} --host {host} --force"
    )]
    OtherHost {
        known: String,
        host: String,
        command: String,
    },
}

impl TlsError {
    pub(super) fn ca(path: &Path, problem: Problem) -> Self {
        Self::of(CA_FILE, path, problem)
    }

    pub(super) fn cert(path: &Path, problem: Problem) -> Self {
        Self::of(CERT_FILE, path, problem)
    }

    pub(super) fn key(path: &Path, problem: Problem) -> Self {
        Self::of(KEY_FILE, path, problem)
    }

    fn of(setting: &'static str, path: &Path, problem: Problem) -> Self {
        let path = path.to_owned();
        Self {
            setting,
            path,
            problem,
        }
    }
}
