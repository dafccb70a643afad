//! The state directory of a process. By it a test knows which executors lived there, and takes away what they left on the
//! Engine, however the test ends: a killed process can't.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::docker;

/// Clones are of the same directory; what is left goes with the last one.
#[derive(Clone)]
pub struct State(Arc<Owned>);

struct Owned(TempDir);

impl State {
    /// # Errors
    /// When no directory can be made.
    pub fn new() -> Result<Self> {
        Ok(Self(Arc::new(Owned(TempDir::new()?))))
    }

    pub fn path(&self) -> &Path {
        self.0.0.path()
    }

    /// The ids of all executors that ever lived here.
    pub fn executors(&self) -> Vec<String> {
        executors_in(self.path())
    }

    /// The id of the only one.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn executor(&self) -> Result<String> {
        let ids = self.executors();
        anyhow::ensure!(ids.len() <= 1, "several executors lived here: {ids:?}");
        ids.into_iter().next().context("no executor lived here")
    }

    /// The containers of all of them, running or not.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn containers(&self) -> Result<Vec<String>> {
        let mut containers = Vec::new();
        for id in self.executors() {
            containers.extend(docker::containers_of(&id).await?);
        }
        Ok(containers)
    }
}

impl Deref for State {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.path()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let ids = executors_in(self.0.path());
        if !ids.is_empty() {
            docker::take_away(ids);
        }
    }
}

/// They are beside the registry, or in a directory of their own.
fn executors_in(state: &Path) -> Vec<String> {
    let places = ["executors", "executor/executors", "dynamic-mcp/executors"];
    let mut ids: Vec<_> = places
        .iter()
        .flat_map(|place| names_in(state.join(place)))
        .collect();
    ids.retain(|id| id.starts_with("exe_"));
    ids
}

fn names_in(dir: PathBuf) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
