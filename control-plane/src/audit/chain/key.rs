//! The key that the codes are made with: from a file of the operator's, or made once and kept beside the server's state.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

use super::{Hex128, Seal};

const MIN_BYTES: usize = 32;
/// Nothing that anybody means to be a key is longer.
const MAX_BYTES: u64 = 64 * 1024;
/// Others may not read it, and no group may change it.
const FORBIDDEN_MODE: u32 = 0o027;
const KEY_ID_INPUT: &[u8] = b"the id of an audit key of dynamic-mcp";
const KEY_ID_BYTES: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the audit key {} can't be read (MCP_AUDIT_KEY_FILE)", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("the audit key {} can't be made; MCP_AUDIT_KEY_FILE names another file", file.display())]
    Make { file: PathBuf, source: io::Error },
    #[error(
        "the audit key {} (MCP_AUDIT_KEY_FILE) holds {bytes} bytes and needs 32 at least: openssl rand -hex 32 makes one",
        file.display()
    )]
    Short { file: PathBuf, bytes: usize },
    #[error(
        "the audit key {} (MCP_AUDIT_KEY_FILE) has mode {mode:o}, which lets others read or change it: chmod 600, or 440",
        file.display()
    )]
    Exposed { file: PathBuf, mode: u32 },
}

#[derive(Clone)]
pub(in crate::audit) struct AuditKey {
    key: hmac::Key,
    id: String,
}

impl AuditKey {
    /// # Errors
    /// When the file can't be read, is too short, or others may read it.
    pub(in crate::audit) fn read(file: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read {
            file: file.to_owned(),
            source,
        };
        let metadata = fs::metadata(file).map_err(failed)?;
        let mode = metadata.mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            let file = file.to_owned();
            return Err(KeyError::Exposed { file, mode });
        }
        if metadata.len() > MAX_BYTES {
            return Err(failed(io::Error::other("it is too long to be a key")));
        }
        let bytes = fs::read(file).map_err(failed)?;
        let bytes = bytes.trim_ascii_end();
        if bytes.len() < MIN_BYTES {
            return Err(KeyError::Short {
                file: file.to_owned(),
                bytes: bytes.len(),
            });
        }
        Ok(Self::new(bytes))
    }

    /// The same, making the file if there is none.
    ///
    /// # Errors
    /// As for [`Self::read`], and when it can't be made.
    pub(in crate::audit) fn read_or_make(file: &Path) -> Result<Self, KeyError> {
        match fs::exists(file) {
            Ok(true) => {}
            Ok(false) => make(file).map_err(|source| KeyError::Make {
                file: file.to_owned(),
                source,
            })?,
            Err(source) => {
                let file = file.to_owned();
                return Err(KeyError::Read { file, source });
            }
        }
        Self::read(file)
    }

    fn new(bytes: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let id = hex::encode(&hmac::sign(&key, KEY_ID_INPUT).as_ref()[..KEY_ID_BYTES]);
        Self { key, id }
    }

    /// Says which key it is, and nothing of what it is.
    pub(in crate::audit) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn code(&self, bytes: &[u8]) -> Hex128 {
        let mut code = [0; 16];
        code.copy_from_slice(&hmac::sign(&self.key, bytes).as_ref()[..16]);
        Hex128(code)
    }

    pub(in crate::audit) fn made(&self, seal: &Seal<'_>) -> bool {
        self.code(seal.covered).0.ct_eq(&seal.mac.0).into()
    }

    #[cfg(test)]
    pub(in crate::audit) fn for_tests(byte: u8) -> Self {
        Self::new(&[byte; MIN_BYTES])
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.id)
    }
}

/// Whole or not at all, and once, however many processes start at the same time.
fn make(file: &Path) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut secret = [0; MIN_BYTES];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the system has no randomness"))?;
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", Hex128::random()));
    let draft = PathBuf::from(draft);
    let mut options = OpenOptions::new();
    let made = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut key| {
            key.write_all(format!("{}\n", hex::encode(secret)).as_bytes())?;
            key.sync_all()?;
            fs::hard_link(&draft, file)?;
            File::open(directory)?.sync_all()
        });
    // There is none where making it failed.
    let _gone = fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The keys that a chain may have been made with.
#[derive(Debug, Clone, Default)]
pub(in crate::audit) struct KeyRing(Vec<AuditKey>);

impl KeyRing {
    pub(in crate::audit) fn new(keys: Vec<AuditKey>) -> Self {
        Self(keys)
    }

    /// The one that made this line.
    pub(in crate::audit) fn maker(&self, seal: &Seal<'_>) -> Option<&AuditKey> {
        self.0.iter().find(|key| key.made(seal))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(mode: u32, content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (directory, file)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state/audit.key");
        let first = AuditKey::read_or_make(&file).unwrap();
        let second = AuditKey::read_or_make(&file).unwrap();
        assert_eq!(first.id(), second.id());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_break_at_its_end_makes_no_difference() {
        let (_one, with) = file(0o600, &format!("{}\n", "k".repeat(40)));
        let (_other, without) = file(0o440, &"k".repeat(40));
        assert_eq!(
            AuditKey::read(&with).unwrap().id(),
            AuditKey::read(&without).unwrap().id()
        );
    }

    #[test]
    fn a_short_one_and_one_that_others_can_read_are_refused() {
        let (_short, path) = file(0o600, "hunter2");
        let error = AuditKey::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("MCP_AUDIT_KEY_FILE") && error.contains("7 bytes"),
            "{error}"
        );
        let (_open, path) = file(0o644, &"k".repeat(40));
        let error = AuditKey::read(&path).unwrap_err().to_string();
        assert!(error.contains("644") && error.contains("chmod 600"), "{error}");
    }
}
