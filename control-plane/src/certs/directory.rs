//! Certificates and keys in files: whole or not at all, and keys for their owner's eyes only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

pub(super) struct Directory {
    path: PathBuf,
    force: bool,
}

impl Directory {
    pub(super) fn new(path: &Path, force: bool) -> Self {
        let path = path.to_owned();
        Self { path, force }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.key"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.certificate(name).exists()
    }

    /// Before the first of several is written.
    pub(super) fn check_free(&self, names: &[String]) -> anyhow::Result<()> {
        let mut files = names
            .iter()
            .flat_map(|name| [self.certificate(name), self.key(name)]);
        if let Some(taken) = files.find(|file| !self.force && file.exists()) {
            anyhow::bail!("{} is there already: --force replaces it", taken.display());
        }
        Ok(())
    }

    /// Certificate and key.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<(String, String)> {
        let read = |file: PathBuf| fs::read_to_string(&file).with_context(|| file.display().to_string());
        Ok((read(self.certificate(name))?, read(self.key(name))?))
    }

    /// The key first: whoever watches the two takes them over when they belong together.
    pub(super) fn write(&self, name: &str, certificate: &str, key: &str) -> anyhow::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .with_context(|| self.path.display().to_string())?;
        let files = [
            (self.key(name), key, KEY_MODE),
            (self.certificate(name), certificate, CERTIFICATE_MODE),
        ];
        for (file, text, mode) in files {
            write(&file, text, mode).with_context(|| file.display().to_string())?;
        }
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

fn write(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // One that a predecessor left half written may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&temporary, file)
}
