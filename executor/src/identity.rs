//! Who this process is to its container engine, and who else is alive on it.
//!
//! An executor's id is a directory that a process holds by `flock`. The kernel gives the lock back however the
//! process ends, so a free lock means that nobody owns that id's containers any more. A process takes the first free
//! id, so that a restarted one gets its predecessor's and removes what that left behind.
//!
//! ```text
//! <state dir>/executors/lock            held for the moment of a claim or a look, so that neither misleads the other
//! <state dir>/executors/exe_…/lock      held for the life of the process
//! <state dir>/executors/exe_…/epoch     grows with every start
//! <state dir>/executors/exe_…/health    the socket on which the process says how it is
//! ```
//!
//! Only processes of one state directory see each other here. Of an id from elsewhere nothing is known, and it must
//! not be taken for dead.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use dynamic_mcp_shared::ids::ExecutorId;

/// An id that is this process's own until it is dropped.
#[derive(Debug)]
pub struct Identity {
    pub id: ExecutorId,
    /// Grows with every start of this id, durably.
    pub epoch: u64,
    state_dir: PathBuf,
    executors: PathBuf,
    _lock: File,
}

/// Whether some process holds an executor's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Alive,
    Dead,
    /// The id is of another state directory, perhaps of another machine's.
    Unknown,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the executor's state directory can't be used: {step} {path}")]
    Unusable {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "MCP_TLS_CERT_FILE: the certificate is executor {id}'s, and another process of {} is that already: give each \
         executor a certificate of its own",
        .state_dir.display()
    )]
    Held { id: ExecutorId, state_dir: PathBuf },
    #[error(
        "MCP_TLS_CERT_FILE: the certificate is executor {wanted}'s, and {} is executor {found}'s: make a certificate for \
         that one (dynamic-mcp certs executor --id {found}), or let MCP_EXECUTOR_STATE_DIR name a new directory",
        .state_dir.display()
    )]
    Another {
        wanted: ExecutorId,
        found: ExecutorId,
        state_dir: PathBuf,
    },
}

impl Identity {
    /// Takes the first free id of the state directory, or makes a new one, and counts its epoch up.
    ///
    /// # Errors
    /// When the directory can't be made, locked or written.
    pub fn claim(state_dir: &Path) -> Result<Self, IdentityError> {
        let executors = state_dir.join("executors");
        fs::create_dir_all(&executors).map_err(at("making", &executors))?;
        let _turn = take_turn(&executors)?;
        for id in known_ids(&executors)? {
            let Some(lock) = lock_if_free(&executors, &id)? else {
                continue;
            };
            let dir = executors.join(id.as_str());
            match read_epoch(&dir) {
                Ok(last) => return Self::hold(state_dir, executors, id, lock, last),
                // Without its epoch an id can't be told from its past, so it is left alone.
                Err(error) => {
                    tracing::warn!(executor.id = %id, %error, "an executor id is skipped: its epoch can't be read");
                }
            }
        }
        let id = ExecutorId::generate();
        let dir = executors.join(id.as_str());
        fs::create_dir(&dir).map_err(at("making", &dir))?;
        let lock = lock_if_free(&executors, &id)?.ok_or_else(|| {
            let taken = io::Error::from(io::ErrorKind::WouldBlock);
            at("locking", &dir)(taken)
        })?;
        Self::hold(state_dir, executors, id, lock, 0)
    }

    /// Takes the id that a certificate says. A new state directory becomes that executor's; one that another executor
    /// left is not taken over, for what that one left on the machine would stay without an owner's name.
    ///
    /// # Errors
    /// When the directory can't be used, is another executor's, or a living process has that id.
    pub fn claim_as(state_dir: &Path, id: &ExecutorId) -> Result<Self, IdentityError> {
        let executors = state_dir.join("executors");
        fs::create_dir_all(&executors).map_err(at("making", &executors))?;
        let _turn = take_turn(&executors)?;
        let known = known_ids(&executors)?;
        let dir = executors.join(id.as_str());
        if !known.contains(id) {
            for other in known {
                if lock_if_free(&executors, &other)?.is_some() {
                    return Err(IdentityError::Another {
                        wanted: id.clone(),
                        found: other,
                        state_dir: state_dir.to_owned(),
                    });
                }
            }
            fs::create_dir(&dir).map_err(at("making", &dir))?;
        }
        let lock = lock_if_free(&executors, id)?.ok_or_else(|| IdentityError::Held {
            id: id.clone(),
            state_dir: state_dir.to_owned(),
        })?;
        let last = read_epoch(&dir).map_err(at("reading the epoch in", &dir))?;
        Self::hold(state_dir, executors, id.clone(), lock, last)
    }

    /// Whether a process of this state directory holds the id; this process holds its own.
    pub fn holder(&self, other: &ExecutorId) -> Holder {
        if *other == self.id {
            return Holder::Alive;
        }
        if !self.executors.join(other.as_str()).is_dir() {
            return Holder::Unknown;
        }
        let free = take_turn(&self.executors).and_then(|_turn| lock_if_free(&self.executors, other));
        match free {
            Ok(Some(_given_back)) => Holder::Dead,
            Ok(None) => Holder::Alive,
            Err(error) => {
                tracing::warn!(executor.id = %other, %error, "whether an executor lives can't be told");
                Holder::Unknown
            }
        }
    }

    /// Where what outlives a process is kept; all executors of this directory share it.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// What is this executor's alone.
    pub fn dir(&self) -> PathBuf {
        self.executors.join(self.id.as_str())
    }

    fn hold(
        state_dir: &Path,
        executors: PathBuf,
        id: ExecutorId,
        lock: File,
        last_epoch: u64,
    ) -> Result<Self, IdentityError> {
        let epoch = last_epoch.saturating_add(1);
        let dir = executors.join(id.as_str());
        write_epoch(&dir, epoch).map_err(at("writing the epoch in", &dir))?;
        Ok(Self {
            id,
            epoch,
            state_dir: state_dir.to_owned(),
            executors,
            _lock: lock,
        })
    }
}

/// [`Identity::dir`] of every id of a state directory, held or not.
///
/// # Errors
/// When it can't be read.
pub fn dirs(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(state_dir.join("executors"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Unusable { step, path, source }
}

/// Waits for the moment in which no other process claims or looks.
fn take_turn(executors: &Path) -> Result<File, IdentityError> {
    let path = executors.join("lock");
    let turn = File::create(&path).map_err(at("opening", &path))?;
    turn.lock().map_err(at("locking", &path))?;
    Ok(turn)
}

/// The oldest first: ids sort by the time they were made.
fn known_ids(executors: &Path) -> Result<Vec<ExecutorId>, IdentityError> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(executors).map_err(at("reading", executors))? {
        let entry = entry.map_err(at("reading", executors))?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(ids)
}

fn lock_if_free(executors: &Path, id: &ExecutorId) -> Result<Option<File>, IdentityError> {
    let path = executors.join(id.as_str()).join("lock");
    let lock = File::create(&path).map_err(at("opening", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(at("locking", &path)(error)),
    }
}

/// 0 where none was written yet: the process died between making the directory and its first epoch.
fn read_epoch(dir: &Path) -> io::Result<u64> {
    match fs::read_to_string(dir.join("epoch")) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, and on the disk before anybody is told the number.
fn write_epoch(dir: &Path, epoch: u64) -> io::Result<()> {
    let temporary = dir.join("epoch.new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{epoch}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join("epoch"))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(state: &tempfile::TempDir) -> Identity {
        Identity::claim(state.path()).unwrap()
    }

    #[test]
    fn a_restarted_process_has_its_predecessors_id_and_a_later_epoch() {
        let state = tempfile::tempdir().unwrap();
        let first = claim(&state);
        let (id, epoch) = (first.id.clone(), first.epoch);
        drop(first);
        let second = claim(&state);
        assert_eq!((second.id.clone(), second.epoch), (id, epoch + 1));
    }

    #[test]
    fn processes_that_live_at_once_have_different_ids() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) = (claim(&state), claim(&state));
        assert_ne!(one.id, other.id);
        assert_eq!(one.holder(&other.id), Holder::Alive);
        assert_eq!(one.holder(&one.id), Holder::Alive);
    }

    #[test]
    fn an_id_whose_lock_is_free_is_dead_and_stays_claimable() {
        let state = tempfile::tempdir().unwrap();
        let (one, other) = (claim(&state), claim(&state));
        let id = other.id.clone();
        drop(other);
        assert_eq!(one.holder(&id), Holder::Dead);
        assert_eq!(claim(&state).id, id);
    }

    #[test]
    fn an_id_of_another_state_directory_is_unknown() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(claim(&here).holder(&claim(&elsewhere).id), Holder::Unknown);
    }

    #[test]
    fn a_new_directory_becomes_that_of_the_certificates_executor() {
        let state = tempfile::tempdir().unwrap();
        let id: ExecutorId = "exe_one".parse().unwrap();
        let first = Identity::claim_as(state.path(), &id).unwrap();
        assert_eq!((&first.id, first.epoch), (&id, 1));
        drop(first);
        assert_eq!(Identity::claim_as(state.path(), &id).unwrap().epoch, 2);
    }

    #[test]
    fn a_directory_of_another_executor_is_not_taken_over() {
        let state = tempfile::tempdir().unwrap();
        let found = claim(&state).id.clone();
        let error = Identity::claim_as(state.path(), &"exe_one".parse().unwrap()).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&format!("--id {found}")) && said.contains("exe_one"),
            "{said}"
        );
        assert_eq!(Identity::claim_as(state.path(), &found).unwrap().id, found);
    }

    #[test]
    fn an_id_of_a_certificate_is_one_process_alone_and_has_living_neighbours() {
        let state = tempfile::tempdir().unwrap();
        let (one, two): (ExecutorId, ExecutorId) = ("exe_one".parse().unwrap(), "exe_two".parse().unwrap());
        let first = Identity::claim_as(state.path(), &one).unwrap();
        let second = Identity::claim_as(state.path(), &two).unwrap();
        assert_eq!(first.holder(&second.id), Holder::Alive);
        let error = Identity::claim_as(state.path(), &one).unwrap_err();
        assert!(matches!(error, IdentityError::Held { .. }), "{error}");
    }

    #[test]
    fn an_id_with_a_damaged_epoch_is_never_taken_again() {
        let state = tempfile::tempdir().unwrap();
        let first = claim(&state);
        let id = first.id.clone();
        drop(first);
        let epoch = state.path().join("executors").join(id.as_str()).join("epoch");
        fs::write(epoch, "not a number").unwrap();
        let second = claim(&state);
        assert_ne!(second.id, id);
        assert_eq!(second.holder(&id), Holder::Dead);
    }
}
