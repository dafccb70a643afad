//! Who may come in: the edge between HTTP and a [`Principal`]. What a principal may do is asked where it is done.
//!
//! ```text
//! Authorization ──▶ bearer ──▶ jwt: seen before? ──▶ key of the issuer ──▶ signature ──▶ claims ──▶ Access
//!                                        └──── a hash lookup, expiry and key looked at again ────────┘
//! ```

mod admin;
mod bearer;
mod challenge;
pub mod dev;
mod jwks_url;
pub mod jwt;
mod scopes;

use http::request::Parts;

pub use self::admin::{AdminGate, Forbidden};
pub use self::challenge::{Challenger, ResourceUrl};
pub use self::jwks_url::JwksUrl;
use self::jwt::Jwt;
pub use self::scopes::{ScopeNames, Scopes};
use crate::metric_names;
use crate::principal::{Access, Rights};

/// The contract's code of JSON-RPC for a token that does not do.
pub const NOT_ALLOWED: i32 = -32_002;

/// Why somebody is not let in, or not let on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this server needs an access token: send the header Authorization: Bearer <token>")]
    Missing,
    /// RFC 6750, `invalid_request`.
    #[error("{0}")]
    Malformed(&'static str),
    /// RFC 6750, `invalid_token`.
    #[error("{0}")]
    Invalid(String),
    /// RFC 6750, `insufficient_scope`, with all that is needed.
    #[error("the access token lacks the scope {}", missing.join(" "))]
    Scope {
        missing: Vec<String>,
        needed: Vec<String>,
    },
    /// Nobody can be let in before there are keys.
    #[error("the keys of the tokens' issuer have not been had yet; try again in a few seconds")]
    NoKeys,
}

impl Denied {
    /// For a client that has got past the place where it would have been told which scope it lacks.
    pub const NO_RIGHT: &'static str = "the access token lacks the scope that this needs";

    /// In a word, for a client that reads bodies.
    pub fn reason(&self) -> &'static str {
        match self {
            Denied::Missing => "missing",
            Denied::Malformed(_) => "malformed",
            Denied::Invalid(_) => "invalid",
            Denied::Scope { .. } => "scope",
            Denied::NoKeys => "no_keys",
        }
    }
}

/// Everybody comes in, or whoever has a token of the issuer's.
pub enum Gate {
    Open(Access),
    Jwt(Box<Jwt>),
}

impl Gate {
    pub fn open() -> Self {
        Gate::Open(Access::anonymous())
    }

    /// # Errors
    /// Why whoever sent this request is not let in.
    pub async fn admit(&self, request: &Parts) -> Result<Access, Denied> {
        let jwt = match self {
            Gate::Open(access) => return Ok(access.clone()),
            Gate::Jwt(jwt) => jwt,
        };
        let admitted = match bearer::token(request) {
            Ok(token) => jwt.verify(token).await,
            Err(denied) => Err(denied),
        };
        match &admitted {
            Ok(_) => metrics::counter!(metric_names::HTTP_AUTH_SUCCESS).increment(1),
            Err(_) => count_denied(),
        }
        admitted
    }

    /// # Errors
    /// When one of these rights needs a scope that the token lacks.
    pub fn require(&self, access: &Access, rights: Rights) -> Result<(), Denied> {
        match self {
            Gate::Jwt(jwt) if !access.rights.has_all(rights) => {
                count_denied();
                Err(jwt.lacking(access.rights, rights))
            }
            _ => Ok(()),
        }
    }

    /// Where and how a token is to be had; `None` when none is needed.
    pub fn challenger(&self) -> Option<&Challenger> {
        match self {
            Gate::Open(_) => None,
            Gate::Jwt(jwt) => Some(jwt.challenger()),
        }
    }
}

fn count_denied() {
    metrics::counter!(metric_names::HTTP_AUTH_DENIED).increment(1);
}
