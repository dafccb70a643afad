//! Every key and channel that is ours. All begin with one prefix, and those that one script touches share a hash tag, so
//! that a cluster keeps them on one node. Whoever writes one gives it a time to live.

use dynamic_mcp_shared::ids::ExecutorId;

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Never there: asked for to see whether Redis answers.
    pub(super) fn looked_up(&self) -> String {
        self.of_group("health", "none")
    }

    /// The executors that replicas told each other of, each with the end of its record, by Redis's own time.
    pub fn fleet_index(&self) -> String {
        self.of_group("fleet", "executors")
    }

    /// What is known of one executor.
    pub fn fleet_record(&self, id: &ExecutorId) -> String {
        self.of_group("fleet", &format!("executor:{id}"))
    }

    /// Where replicas tell each other what they heard of executors.
    pub fn fleet_news(&self) -> String {
        self.of_group("fleet", "news")
    }

    /// Of one group: keys of one group are on one node of a cluster.
    fn of_group(&self, group: &str, rest: &str) -> String {
        format!("{{{}:{group}}}:{rest}", self.prefix)
    }
}
