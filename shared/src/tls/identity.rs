//! Who a certificate speaks for: one URI among its names, after SPIFFE, in a trust domain of this product's own.

use std::fmt;
use std::str::FromStr;

use crate::ids::ExecutorId;

const CONTROL_PLANE: &str = "spiffe://dynamic-mcp/control-plane";
const EXECUTOR: &str = "spiffe://dynamic-mcp/executor/";

/// All replicas of the control plane are one and the same; each executor is one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    ControlPlane,
    Executor(ExecutorId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    ControlPlane,
    Executor,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither {CONTROL_PLANE} nor {EXECUTOR}<executor's id>")]
pub struct NoIdentity(String);

impl Identity {
    pub fn role(&self) -> Role {
        match self {
            Identity::ControlPlane => Role::ControlPlane,
            Identity::Executor(_) => Role::Executor,
        }
    }

    /// As it stands in a certificate.
    pub fn uri(&self) -> String {
        match self {
            Identity::ControlPlane => CONTROL_PLANE.to_owned(),
            Identity::Executor(id) => format!("{EXECUTOR}{id}"),
        }
    }

    /// The command that makes a certificate for it.
    pub(crate) fn command(&self) -> String {
        match self {
            Identity::ControlPlane => Role::ControlPlane.command().to_owned(),
            Identity::Executor(id) => format!("dynamic-mcp certs executor --id {id}"),
        }
    }
}

impl Role {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Role::ControlPlane => "dynamic-mcp certs control-plane",
            Role::Executor => "dynamic-mcp certs executor",
        }
    }
}

impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(uri: &str) -> Result<Self, NoIdentity> {
        if uri == CONTROL_PLANE {
            return Ok(Identity::ControlPlane);
        }
        uri.strip_prefix(EXECUTOR)
            .and_then(|id| id.parse().ok())
            .map(Identity::Executor)
            .ok_or_else(|| NoIdentity(uri.chars().take(200).collect()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::ControlPlane => f.write_str("the control plane"),
            Identity::Executor(id) => write!(f, "executor {id}"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::ControlPlane => "the control plane",
            Role::Executor => "an executor",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_from_its_uri() {
        let executor = Identity::Executor("exe_one".parse().unwrap());
        assert_eq!(executor.uri(), "spiffe://dynamic-mcp/executor/exe_one");
        for identity in [Identity::ControlPlane, executor] {
            assert_eq!(identity.uri().parse(), Ok(identity));
        }
    }

    #[test]
    fn what_only_looks_like_an_identity_is_none() {
        for uri in [
            "",
            "spiffe://dynamic-mcp/control-plane/",
            "spiffe://dynamic-mcp/control-plane?",
            "SPIFFE://dynamic-mcp/control-plane",
            "spiffe://dynamic-mcp.example/control-plane",
            "spiffe://elsewhere/control-plane",
            "https://dynamic-mcp/control-plane",
            "spiffe://dynamic-mcp/executor/",
            "spiffe://dynamic-mcp/executor/one",
            "spiffe://dynamic-mcp/executor/exe_",
            "spiffe://dynamic-mcp/executor/exe_one/exe_two",
            "spiffe://dynamic-mcp/executor/exe_../control-plane",
            "spiffe://dynamic-mcp/executor/exe_one%00",
        ] {
            assert!(uri.parse::<Identity>().is_err(), "{uri}");
        }
    }
}
