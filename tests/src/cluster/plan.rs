//! What a cluster is to be made of.

use crate::on::On;

#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) replicas: usize,
    pub(super) executors: Vec<On>,
    pub(super) replica_settings: Vec<(String, String)>,
    pub(super) executor_settings: Vec<(String, String)>,
}

impl Default for Plan {
    /// Three replicas and four executors, which run isolates.
    fn default() -> Self {
        Self {
            replicas: 3,
            executors: vec![On::Isolate; 4],
            replica_settings: Vec::new(),
            executor_settings: Vec::new(),
        }
    }
}

impl Plan {
    #[must_use]
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// One for each, with that engine alone.
    #[must_use]
    pub fn executors(mut self, engines: &[On]) -> Self {
        self.executors = engines.to_vec();
        self
    }

    /// Of every replica.
    #[must_use]
    pub fn replica(mut self, name: &str, value: &str) -> Self {
        self.replica_settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Of every executor.
    #[must_use]
    pub fn executor(mut self, name: &str, value: &str) -> Self {
        self.executor_settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a tool gets that asks for no runtime.
    pub(super) fn default_runtime(&self) -> &'static str {
        if self.executors.contains(&On::Docker) {
            "node"
        } else {
            "isolate"
        }
    }
}
