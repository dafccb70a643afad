//! What others hold of the fleet: an executor its place in it, a job its slot.

use std::sync::Arc;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::NodeStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::table::{Node, Ticket};
use super::{ExecutorChannel, Fleet};

/// An executor's place in the fleet; dropping it takes the executor out.
pub struct Membership {
    fleet: Arc<Fleet>,
    id: ExecutorId,
    epoch: u64,
    ticket: Ticket,
    superseded: CancellationToken,
    lost: bool,
}

impl Membership {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        id: ExecutorId,
        epoch: u64,
        ticket: Ticket,
        superseded: CancellationToken,
    ) -> Self {
        Self {
            fleet,
            id,
            epoch,
            ticket,
            superseded,
            lost: false,
        }
    }

    pub fn heard(&self, status: NodeStatus) {
        let status = Arc::new(status);
        let heard = self
            .fleet
            .table
            .lock()
            .heard(&self.id, self.ticket, status.clone(), Instant::now());
        if heard {
            self.fleet.heard_of(self, Some(status));
        }
    }

    /// Cancelled when another stream, or a newer epoch of the executor, has taken its place.
    pub fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }

    /// The executor has left, or can't be heard here any more. This replica no longer vouches for it, and where no other
    /// one does it is gone. Without this it may be there as before, and others go on with it until it is stale.
    pub fn lost(mut self) {
        self.lost = true;
    }

    pub(super) fn id(&self) -> &ExecutorId {
        &self.id
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut table = self.fleet.table.lock();
        table.leave(&self.id, self.ticket, self.lost, Instant::now());
        drop(table);
        self.fleet.changed.notify_waiters();
        self.fleet.to_tell.notify_one();
    }
}

/// The way to an executor, and a slot on it unless it was asked for by name; held until it is dropped.
pub struct Reservation {
    fleet: Arc<Fleet>,
    node: Arc<Node>,
    holds_slot: bool,
}

impl Reservation {
    pub(super) fn of_slot(fleet: Arc<Fleet>, node: Arc<Node>) -> Self {
        Self {
            fleet,
            node,
            holds_slot: true,
        }
    }

    pub(super) fn without_slot(fleet: Arc<Fleet>, node: Arc<Node>) -> Self {
        Self {
            fleet,
            node,
            holds_slot: false,
        }
    }

    pub fn executor(&self) -> &ExecutorId {
        &self.node.info.id
    }

    pub fn epoch(&self) -> u64 {
        self.node.info.epoch
    }

    pub fn channel(&self) -> ExecutorChannel {
        self.node.ways.jobs.clone()
    }

    /// For the bytes of files.
    pub fn file_channel(&self) -> ExecutorChannel {
        self.node.ways.files.clone()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.holds_slot {
            self.fleet.table.lock().release(&self.node.info);
            self.fleet.changed.notify_waiters();
        }
    }
}
