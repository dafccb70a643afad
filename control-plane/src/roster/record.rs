//! What is said of one executor, as it goes over the wire and into Redis.

use dynamic_mcp_proto::v1::Register;
use dynamic_mcp_shared::ids::InvalidId;
use dynamic_mcp_shared::job::NodeStatus;

use crate::scheduler::fleet::{NodeInfo, Told};

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) info: NodeInfo,
    pub(super) status: NodeStatus,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("the status is missing")]
    NoStatus,
    #[error(transparent)]
    Status(#[from] dynamic_mcp_shared::wire::Malformed),
}

impl TryFrom<Register> for Record {
    type Error = Malformed;

    fn try_from(register: Register) -> Result<Self, Malformed> {
        let info = NodeInfo {
            id: register.executor_id.parse()?,
            epoch: register.epoch,
            version: register.version,
            address: register.address,
        };
        let status = register.status.ok_or(Malformed::NoStatus)?;
        let status = NodeStatus::try_from(status)?;
        Ok(Self { info, status })
    }
}

impl From<&Told> for Register {
    fn from(told: &Told) -> Self {
        Self {
            executor_id: told.info.id.to_string(),
            epoch: told.info.epoch,
            address: told.info.address.clone(),
            version: told.info.version.clone(),
            status: Some((*told.status).clone().into()),
        }
    }
}
