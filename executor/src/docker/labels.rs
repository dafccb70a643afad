//! What is written on everything that this executor makes in the Engine, so that whoever finds it later knows whose
//! it is. Labels are for owners and operators: no code, argument or secret is ever in one.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use dynamic_mcp_shared::ids::{ExecutorId, TenantId};

use crate::identity::Identity;

const APP: &str = "app";
const EXECUTOR: &str = "executor";
const EPOCH: &str = "epoch";
const TENANT: &str = "tenant";
const KIND: &str = "kind";
const ID: &str = "id";
const EXPIRES: &str = "expires";

const APP_NAME: &str = "dynamic-mcp";

/// What a container or a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs the code of tools.
    Sandbox,
    /// Stays for the owner of a session.
    Session,
    /// Installs or resolves packages.
    Install,
    /// Holds installed packages: a volume, which outlives the executor that made it.
    Dependencies,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Sandbox => "sandbox",
            Kind::Session => "session",
            Kind::Install => "install",
            Kind::Dependencies => "dependencies",
        }
    }
}

/// `tenant` is `None` for a sandbox that waits for its first call: whose it will be is not known yet.
/// At `expires` its owner has removed it, so that afterwards anybody may.
pub fn labels(
    owner: &Identity,
    kind: Kind,
    id: &str,
    tenant: Option<&TenantId>,
    expires: DateTime<Utc>,
) -> HashMap<String, String> {
    let pairs = [
        (APP, APP_NAME.to_owned()),
        (EXECUTOR, owner.id.to_string()),
        (EPOCH, owner.epoch.to_string()),
        (TENANT, tenant.map(ToString::to_string).unwrap_or_default()),
        (KIND, kind.as_str().to_owned()),
        (ID, id.to_owned()),
        (EXPIRES, expires.to_rfc3339_opts(SecondsFormat::Secs, true)),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The Engine's filter for everything of ours, whoever made it.
pub fn ours() -> String {
    format!("{APP}={APP_NAME}")
}

/// The Engine's filter for one kind.
pub fn of_kind(kind: Kind) -> String {
    format!("{KIND}={}", kind.as_str())
}

/// The labels as they were read back. `None` for a part that is missing or can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    pub executor: Option<ExecutorId>,
    pub epoch: Option<u64>,
    pub is_sandbox: bool,
    pub expires: Option<DateTime<Utc>>,
}

impl Ownership {
    pub fn read(labels: &HashMap<String, String>) -> Self {
        Self {
            executor: labels.get(EXECUTOR).and_then(|id| id.parse().ok()),
            epoch: labels.get(EPOCH).and_then(|epoch| epoch.parse().ok()),
            is_sandbox: labels.get(KIND).is_some_and(|kind| {
                [Kind::Sandbox, Kind::Session]
                    .iter()
                    .any(|one| kind == one.as_str())
            }),
            expires: labels
                .get(EXPIRES)
                .and_then(|time| DateTime::parse_from_rfc3339(time).ok())
                .map(|time| time.with_timezone(&Utc)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_of_a_session_is_one_that_its_executor_keeps_count_of() {
        for (kind, is_sandbox) in [
            (Kind::Sandbox, true),
            (Kind::Session, true),
            (Kind::Install, false),
        ] {
            let labels = HashMap::from([(KIND.to_owned(), kind.as_str().to_owned())]);
            assert_eq!(Ownership::read(&labels).is_sandbox, is_sandbox, "{kind:?}");
        }
    }

    #[test]
    fn labels_read_back_as_they_were_written() {
        let state = tempfile::tempdir().unwrap();
        let owner = Identity::claim(state.path()).unwrap();
        let expires = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let written = labels(&owner, Kind::Sandbox, "dmcp-1", None, expires);
        assert_eq!(
            Ownership::read(&written),
            Ownership {
                executor: Some(owner.id.clone()),
                epoch: Some(owner.epoch),
                is_sandbox: true,
                expires: Some(expires),
            }
        );
    }
}
