//! What this side shows of itself and whom it believes, as its files say now.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};

use super::args::TlsFiles;
use super::certificate::Certificate;
use super::error::{Problem, TlsError};
use super::identity::{Identity, Role};
use super::material::{Files, Material};
use crate::clock::Clock;

pub struct Trust {
    files: TlsFiles,
    /// Of the first set: a later one must be of the same, or others would have joined somebody else than they know.
    identity: Identity,
    /// Where others reach this process, if it is known.
    host: Mutex<Option<String>>,
    clock: Arc<dyn Clock>,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    material: Arc<Material>,
    digest: [u8; 32],
}

/// What a look at the files came to.
#[derive(Debug)]
pub(super) enum Look {
    Unchanged,
    Replaced,
    /// They are not taken, and what was there goes on.
    Refused(TlsError),
}

impl Trust {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When this side can't show them to anybody: names the setting and what to do.
    pub fn open(files: TlsFiles, role: Role, clock: Arc<dyn Clock>) -> Result<Arc<Self>, TlsError> {
        let read = Files::read(&files)?;
        let material = Material::check(&read, &files, role, clock.now())?;
        let identity = material.identity.clone();
        let current = Current {
            material: Arc::new(material),
            digest: read.digest(),
        };
        Ok(Arc::new(Self {
            files,
            identity,
            host: Mutex::default(),
            clock,
            current: RwLock::new(current),
        }))
    }

    /// From here on the certificate must be good for this host, where others are told to reach this process.
    ///
    /// # Errors
    /// When the present one is not.
    pub fn must_cover(&self, host: &str) -> Result<(), TlsError> {
        self.check_host(&self.certificate(), host)?;
        *self.host.lock() = Some(host.to_owned());
        Ok(())
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The one that is shown now.
    pub fn certificate(&self) -> Certificate {
        self.material().certificate.clone()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn material(&self) -> Arc<Material> {
        self.current.read().material.clone()
    }

    /// Takes what the files hold now, if it is another set and a good one. Blocks on the disk.
    pub(super) fn look(&self) -> Look {
        let adopted = Files::read(&self.files).and_then(|read| {
            let digest = read.digest();
            if digest == self.current.read().digest {
                return Ok(Look::Unchanged);
            }
            let material = Arc::new(self.check(&read)?);
            *self.current.write() = Current { material, digest };
            Ok(Look::Replaced)
        });
        adopted.unwrap_or_else(Look::Refused)
    }

    fn check(&self, read: &Files) -> Result<Material, TlsError> {
        let material = Material::check(read, &self.files, self.identity.role(), self.now())?;
        if material.identity != self.identity {
            let problem = Problem::OtherIdentity {
                found: material.identity,
                wanted: self.identity.clone(),
            };
            return Err(TlsError::cert(&self.files.cert, problem));
        }
        if let Some(host) = self.host.lock().as_deref() {
            self.check_host(&material.certificate, host)?;
        }
        Ok(material)
    }

    fn check_host(&self, certificate: &Certificate, host: &str) -> Result<(), TlsError> {
        if certificate.covers(host) {
            return Ok(());
        }
        let known = match certificate.hosts() {
            [] => "no host".to_owned(),
            hosts => hosts.join(", "),
        };
        let problem = Problem::OtherHost {
            known,
            host: host.to_owned(),
            command: self.identity.command(),
        };
        Err(TlsError::cert(&self.files.cert, problem))
    }
}
