//! Certificates as an operator makes and hands them out: by the product's own command, into the files of each machine.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::process::command;

const CA: &str = "ca.pem";
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The directory of `dynamic-mcp certs`.
pub struct Authority(TempDir);

/// What one machine of the deployment has.
pub struct Side {
    dir: TempDir,
    settings: [(&'static str, String); 3],
}

impl Authority {
    /// # Errors
    /// When the command fails.
    pub async fn new() -> Result<Self> {
        let authority = Self(TempDir::new()?);
        authority.certs(&["init"]).await?;
        Ok(authority)
    }

    /// Runs the command; answers what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn certs(&self, arguments: &[&str]) -> Result<String> {
        let mut certs = command("dynamic-mcp")?;
        certs.arg("certs").args(arguments).arg("--dir").arg(self.0.path());
        let output = certs.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "certs {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A new certificate of the control plane, reached on loopback.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn control_plane(&self) -> Result<()> {
        self.certs(&["control-plane", "--host=127.0.0.1", "--force"])
            .await
            .map(drop)
    }

    /// A new certificate of that executor, reached on loopback.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn executor(&self, id: &str) -> Result<()> {
        self.certs(&["executor", "--id", id, "--host=127.0.0.1", "--force"])
            .await
            .map(drop)
    }

    /// Its own certificate, in PEM.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn bundle(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.0.path().join("ca.pem"))?)
    }
}

impl Side {
    /// # Errors
    /// When no directory can be made.
    pub fn new() -> Result<Self> {
        let dir = TempDir::new()?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = [
            ("MCP_TLS_CA_FILE", path(CA)),
            ("MCP_TLS_CERT_FILE", path(CERT)),
            ("MCP_TLS_KEY_FILE", path(KEY)),
        ];
        Ok(Self { dir, settings })
    }

    /// With a certificate that the authority made under that name, trusting the authority.
    ///
    /// # Errors
    /// When a file can't be copied.
    pub fn of(authority: &Authority, name: &str) -> Result<Self> {
        let side = Self::new()?;
        side.give(&authority.bundle()?, authority, name)?;
        Ok(side)
    }

    /// Replaces its files, one after the other, while somebody may be reading them.
    ///
    /// # Errors
    /// When a file can't be copied.
    pub fn give(&self, bundle: &str, authority: &Authority, name: &str) -> Result<()> {
        let made =
            |extension: &str| std::fs::read_to_string(authority.0.path().join(format!("{name}.{extension}")));
        let files = [(CA, bundle.to_owned()), (KEY, made("key")?), (CERT, made("pem")?)];
        for (file, text) in files {
            let new = self.file("new");
            std::fs::write(&new, text)?;
            std::fs::rename(new, self.file(file))?;
        }
        Ok(())
    }

    pub fn certificate(&self) -> PathBuf {
        self.file(CERT)
    }

    /// What makes a process use them.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
