//! The use cases of `system.fleet`: what an operator sees of the executors, and sends away. An audit entry is opened before
//! an executor is drained and closed after it.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::{ExecutorId, InvalidId, ReplicaId};
use serde_json::{Map, json};

use crate::audit::{Action, Audit, Unaudited, Verdict};
use crate::auth::{AdminGate, Forbidden};
use crate::principal::{Caller, Right};
use crate::scheduler::client::{self, NotDrained};
use crate::scheduler::fleet::{Fleet, NodeView, NotThere};

/// What the log of an executor gets to read, at most.
pub const MAX_REASON_CHARS: usize = 200;
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

pub struct FleetAdmin {
    pub fleet: Arc<Fleet>,
    pub replica: ReplicaId,
    pub audit: Audit,
    pub admin: AdminGate,
}

/// Who asks, and with what.
pub struct Asker<'a> {
    pub caller: &'a Caller,
    pub admin_token: Option<String>,
}

#[derive(Debug)]
pub struct Drained {
    pub id: ExecutorId,
    pub epoch: u64,
    /// Jobs that it still finishes.
    pub running: u32,
    pub was_draining: bool,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum FleetAdminError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("executorId: {0}")]
    NoId(#[from] InvalidId),
    #[error("reason must have at most {MAX_REASON_CHARS} characters")]
    LongReason,
    #[error("{0}; system.fleet shows which executors there are")]
    NotThere(#[from] NotThere),
    #[error("{0} is part of this server's process: stop the server instead")]
    InThisProcess(ExecutorId),
    #[error(transparent)]
    NotDrained(#[from] NotDrained),
    #[error(transparent)]
    Unaudited(#[from] Unaudited),
}

impl FleetAdminError {
    pub const fn kind(&self) -> &'static str {
        match self {
            FleetAdminError::Forbidden(_) => "forbidden",
            FleetAdminError::NoId(_) | FleetAdminError::LongReason | FleetAdminError::InThisProcess(_) => {
                "invalid"
            }
            FleetAdminError::NotThere(_) => "not_found",
            FleetAdminError::NotDrained(_) | FleetAdminError::Unaudited(_) => "unavailable",
        }
    }
}

impl FleetAdmin {
    /// # Errors
    /// When the caller may not.
    pub fn nodes(&self, asker: &Asker<'_>) -> Result<Vec<NodeView>, FleetAdminError> {
        self.may(asker)?;
        Ok(self.fleet.nodes())
    }

    /// For who has the right and can't bring a token along.
    ///
    /// # Errors
    /// When a token is needed.
    pub fn nodes_without_token(&self) -> Result<Vec<NodeView>, Forbidden> {
        self.admin.check(None)?;
        Ok(self.fleet.nodes())
    }

    /// Tells an executor to take no new work, finish what it has and leave. To ask again changes nothing.
    ///
    /// # Errors
    /// When the caller may not, there is no such executor, or it does not answer.
    pub async fn drain(
        &self,
        asker: &Asker<'_>,
        executor: &str,
        reason: &str,
    ) -> Result<Drained, FleetAdminError> {
        let target: String = executor.chars().take(128).collect();
        let action = Action {
            name: "system.fleet.drain",
            target: Some(&target),
            revision: None,
            details: Map::from_iter([("reason".to_owned(), json!(shortened(reason)))]),
        };
        let entry = self.audit.begin(asker.caller, action).await?;
        let result = self.drain_now(asker, executor, reason).await;
        entry.close(match &result {
            Ok(_) => Verdict::Done,
            Err(error @ FleetAdminError::Forbidden(_)) => Verdict::Refused(error.kind()),
            Err(error) => Verdict::Failed(error.kind()),
        });
        result
    }

    async fn drain_now(
        &self,
        asker: &Asker<'_>,
        executor: &str,
        reason: &str,
    ) -> Result<Drained, FleetAdminError> {
        self.may(asker)?;
        if reason.chars().count() > MAX_REASON_CHARS {
            return Err(FleetAdminError::LongReason);
        }
        let id: ExecutorId = executor.parse()?;
        let nodes = self.fleet.nodes();
        let known = nodes.iter().find(|node| node.info.id == id);
        let known = known.ok_or_else(|| NotThere::Unknown(id.clone()))?;
        if known.in_this_process {
            return Err(FleetAdminError::InThisProcess(id));
        }
        let epoch = known.info.epoch;
        let node = self.fleet.pinned(&id, epoch)?;
        let answer = client::drain(&node, reason, DRAIN_DEADLINE).await?;
        tracing::info!(executor.id = %id, executor.epoch = epoch, reason, "an executor was asked to leave");
        Ok(Drained {
            id,
            epoch,
            running: answer.running,
            was_draining: answer.was_draining,
        })
    }

    fn may(&self, asker: &Asker<'_>) -> Result<(), FleetAdminError> {
        if !asker.caller.rights.has(Right::Admin) {
            return Err(Forbidden("the fleet is for operators").into());
        }
        Ok(self.admin.check(asker.admin_token.as_deref())?)
    }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}
