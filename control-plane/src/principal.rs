//! Who asks, for whom, and what they may. Everything below the edges takes one of these and never looks at a token.

use std::sync::Arc;

use dynamic_mcp_shared::ids::TenantId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is handed out to one of these is nobody else's. Without auth everybody is the tenant `default`'s `anonymous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub subject: String,
    pub client: String,
}

impl Principal {
    pub fn anonymous() -> Self {
        Self {
            tenant: TenantId::default(),
            subject: "anonymous".to_owned(),
            client: "anonymous".to_owned(),
        }
    }
}

/// What there is to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To list tools and to call them.
    Call,
    /// To make, change and delete tools, and to read their code.
    Write,
    /// To have sandbox sessions.
    Sandbox,
    /// To see and change what concerns the whole deployment.
    Admin,
}

impl Right {
    pub const ALL: [Right; 4] = [Right::Call, Right::Write, Right::Sandbox, Right::Admin];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    pub fn all() -> Self {
        Right::ALL.into_iter().collect()
    }

    pub const fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    pub const fn has_all(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        Self(right.bit())
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().fold(0, |set, right| set | right.bit()))
    }
}

/// A principal that has proved to be who it is, and for how long it has.
#[derive(Debug, Clone)]
pub struct Access {
    pub principal: Arc<Principal>,
    pub rights: Rights,
    /// When what it has shown is worth nothing any more.
    pub until: Option<Instant>,
}

impl Access {
    /// Without auth: everything, for as long as it likes.
    pub fn anonymous() -> Self {
        Self {
            principal: Arc::new(Principal::anonymous()),
            rights: Rights::all(),
            until: None,
        }
    }
}

/// One request of a principal: what its audit entries carry, and how it is told to stop.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Arc<Principal>,
    pub rights: Rights,
    /// The `x-request-id` of the HTTP request; for stdio one made here.
    pub request_id: String,
    /// Cancelled when the client gave the request up, or may not go on with it.
    pub cancel: CancellationToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_no_more() {
        let some: Rights = [Right::Call, Right::Admin].into_iter().collect();
        let has = Right::ALL.map(|right| some.has(right));
        assert_eq!(has, [true, false, false, true]);
        assert!(Right::ALL.into_iter().all(|right| Rights::all().has(right)));
        assert!(!Right::ALL.into_iter().any(|right| Rights::default().has(right)));
    }
}
