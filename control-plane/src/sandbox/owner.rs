//! Whose a session is.

use dynamic_mcp_shared::ids::TenantId;
use sha2::{Digest as _, Sha256};

use crate::principal::Principal;

/// A subject of a tenant. What it is called stays here: executors and the directory see a key that says nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub tenant: TenantId,
    pub key: String,
}

impl Owner {
    /// The client is no part of it: a session that was begun with one is there with another.
    pub fn of(principal: &Principal) -> Self {
        let mut hash = Sha256::new();
        hash.update(principal.tenant.as_str());
        // Is in no tenant's name.
        hash.update([0]);
        hash.update(&principal.subject);
        Self {
            tenant: principal.tenant.clone(),
            key: hex::encode(&hash.finalize()[..16]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tenant: &str, subject: &str, client: &str) -> Owner {
        Owner::of(&Principal {
            tenant: tenant.parse().unwrap(),
            subject: subject.to_owned(),
            client: client.to_owned(),
        })
    }

    #[test]
    fn a_subject_is_itself_with_any_client_and_nobody_else() {
        let one = owner("acme", "ann", "cli");
        assert_eq!(one, owner("acme", "ann", "web"));
        assert_ne!(one.key, owner("acme", "bob", "cli").key);
        assert_ne!(one.key, owner("globex", "ann", "cli").key);
        assert_ne!(owner("a", "bc", "").key, owner("ab", "c", "").key);
        assert!(!one.key.contains("ann"));
    }
}
