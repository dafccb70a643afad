//! Ids are types, so that one can't be handed over for another, and carry a prefix, so that a person who meets
//! one in a log knows what it names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not an id of the form {prefix}<letters, digits, '-'>")]
pub struct InvalidId {
    prefix: &'static str,
    value: String,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        prefixed_id!($(#[$doc])* $name, $prefix, simple);
    };
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $form:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts by the time it was made.
            #[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
            pub fn generate() -> Self {
                Self(format!(concat!($prefix, "{}"), Uuid::now_v7().$form()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let ok = value.strip_prefix($prefix).is_some_and(|rest| {
                    (1..=64).contains(&rest.len())
                        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                });
                if ok {
                    Ok(Self(value.to_owned()))
                } else {
                    let shown: String = value.chars().take(80).collect();
                    Err(InvalidId { prefix: $prefix, value: shown })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(value: String) -> Result<Self, InvalidId> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

prefixed_id!(
    /// One run of code, from the guard's permit to the closed audit entry.
    JobId,
    "job_"
);
prefixed_id!(
    /// One life of a control-plane replica, from its start to its end.
    ReplicaId,
    "rep_"
);
prefixed_id!(
    /// A sandbox session. Its form is part of the contract with clients: a prefix and a UUID as they are usually written.
    SandboxId,
    "mcp-sbx-",
    hyphenated
);
prefixed_id!(
    /// A command that runs in a sandbox session, in the background or not.
    CommandId,
    "cmd_"
);
prefixed_id!(
    /// An execution node, stable over its restarts.
    ExecutorId,
    "exe_"
);

/// Whose tools, calls, limits and audit these are. Without auth everything belongs to [`TenantId::default`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

/// No text that names a tenant can be it.
const SHARED: &str = "*";

impl TenantId {
    /// The owner of what every tenant sees. Nobody can prove to be it.
    pub fn shared() -> Self {
        Self(SHARED.to_owned())
    }

    pub fn is_shared(&self) -> bool {
        self.0 == SHARED
    }

    /// As a store of ours keeps it, [`TenantId::shared`] included.
    ///
    /// # Errors
    /// When it names no tenant.
    pub fn from_store(value: &str) -> Result<Self, InvalidId> {
        if value == SHARED {
            Ok(Self::shared())
        } else {
            value.parse()
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(value: &str) -> Result<Self, InvalidId> {
        let ok = (1..=128).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:@|/".contains(&b));
        if ok {
            Ok(Self(value.to_owned()))
        } else {
            Err(InvalidId {
                prefix: "",
                value: value.chars().take(80).collect(),
            })
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;

    fn try_from(value: String) -> Result<Self, InvalidId> {
        value.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0
    }
}

/// A random v4 UUID in its usual dashed form, for request ids.
#[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
pub fn random_uuid() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_parses_back_and_keeps_its_prefix() {
        let id = JobId::generate();
        assert!(id.as_str().starts_with("job_"));
        assert_eq!(id.as_str().parse::<JobId>(), Ok(id));
    }

    #[test]
    fn who_owns_what_is_shared_is_no_tenant_that_somebody_can_name() {
        let shared = TenantId::shared();
        assert!(shared.as_str().parse::<TenantId>().is_err());
        assert_eq!(TenantId::from_store(shared.as_str()), Ok(shared));
        assert!(!TenantId::default().is_shared());
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let executor = ExecutorId::generate();
        assert!(executor.as_str().parse::<JobId>().is_err());
        assert!("job_".parse::<JobId>().is_err());
        assert!("job_a b".parse::<JobId>().is_err());
    }
}
