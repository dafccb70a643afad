//! What this replica has to tell the others of the executors that have joined it.

use std::sync::Arc;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::NodeStatus;

use super::{Fleet, NodeInfo};

/// What there is to tell since it was asked for last.
#[derive(Debug, Default)]
pub struct News {
    pub heard: Vec<Told>,
    /// No longer heard here, with their epochs.
    pub departed: Vec<(ExecutorId, u64)>,
}

#[derive(Debug, Clone)]
pub struct Told {
    pub info: Arc<NodeInfo>,
    pub status: Arc<NodeStatus>,
}

impl News {
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty() && self.departed.is_empty()
    }
}

impl Fleet {
    /// From now on there are others to tell; also when they may have lost all that they were told.
    pub fn tell_all(&self) {
        self.table.lock().tell_all();
        self.to_tell.notify_one();
    }

    /// Waits until there is something; one task may.
    pub async fn something_to_tell(&self) {
        self.to_tell.notified().await;
    }

    /// What could not be told. Whoever is back is not gone.
    pub fn tell_departed_again(&self, departed: Vec<(ExecutorId, u64)>) {
        self.table.lock().tell_departed_again(departed);
        self.to_tell.notify_one();
    }

    /// Takes what there is to tell.
    pub fn news(&self) -> News {
        self.table.lock().news()
    }
}
