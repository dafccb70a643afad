//! Every key and channel that is ours. All begin with one prefix, and those that one script touches share a hash tag, so
//! that a cluster keeps them on one node. Whoever writes one gives it a time to live.

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

    /// Of one group: keys of one group are on one node of a cluster.
    fn of_group(&self, group: &str, rest: &str) -> String {
        format!("{{{}:{group}}}:{rest}", self.prefix)
    }
}
